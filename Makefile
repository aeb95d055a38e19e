# Two commands do everything on a machine with Python 3.11, git and make: `make demo` and `make test`.
# uv is used where it is installed, and else brought into .tools, which git ignores.

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen

# Compiled once when it is installed, not at each start where bytecode may not be written.
export UV_COMPILE_BYTECODE := 1

.PHONY: demo test test-all crash check format lint types imports bench

demo: $(UV)
	$(RUN) --no-dev refold demo

# What a change usually breaks, in five minutes on two cores.
test: $(UV)
	$(RUN) pytest -n auto --dist worksteal -m "not external and not slow"

# The other tests; those of a worker with started processes, and properties with more examples; and the
# campaign's short form.
test-all: test
	$(RUN) pytest -n auto --dist worksteal --hypothesis-profile ci --real-workers \
		-m "external or slow or hypothesis or worker_contract"
	$(RUN) python -m crash --size short

# Hours: kills, fuzzed inputs, escapes and hostile workspaces. docs/safety.md says what is tried.
crash: $(UV)
	$(RUN) python -m crash

check: $(UV)
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports

format: $(UV)
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

bench: $(UV)
	$(RUN) python -m bench

.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv
