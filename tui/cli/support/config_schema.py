"""The tables of a `refold.toml` that name projections and sources."""

import msgspec


class DeclaredProjection(msgspec.Struct, forbid_unknown_fields=True):
    """A projection with a name, and the interpreter that runs it."""

    code: str
    python: str | None = None


class DeclaredSource(msgspec.Struct, forbid_unknown_fields=True, rename={"origin": "from"}):
    """A source with a name, and how it is loaded; the options of `refold load` by their names."""

    origin: str | list[str]
    map: dict[str, str] = {}
    decode: dict[str, str] = {}
    redact: list[str] = []
    format: str | None = None
    order_by: str | None = None

    @property
    def names(self) -> list[str]:
        return [self.origin] if isinstance(self.origin, str) else self.origin
