"""Expressions over records, as SQL: stages that take JSON apart once a row, and the fields over them.

A record is a tree of JSON texts: the line itself or a column, and any text inside that holds JSON.
Each such text is a node, parsed by one `from_json` into what is wanted of it. Numbers are protected
in each (see `storage.ingest.formats.number_precision`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from storage.ingest.formats import MAX_DEPTH, number_precision
from storage.ingest.mapping import FIELDS, PAYLOADS, FieldMapping
from storage.ingest.mapping.expressions import (
    At,
    Expression,
    First,
    Fixed,
    Header,
    Joined,
    Match,
    Path,
    Rest,
    leaves,
)
from storage.quoting import own, quoted

TRUE = ("true", "t", "1")
"""How a source writes that it passes over a record."""

_HEADERS_OF_PAIRS = '[{"key":"VARCHAR","value":"VARCHAR"}]'


class Root(Protocol):
    """What a batch's row holds before anything inside of it is parsed."""

    deep: bool
    """Whether it reaches into objects itself."""

    def want(self, path: Path, kind: str) -> None:
        """Say beforehand what will be asked for, as a type: `VARCHAR` or `JSON`."""
        ...

    def want_some(self, path: Path) -> None:
        """Say, after all that, that `has` will be asked for."""
        ...

    def has(self, path: Path) -> str:
        """SQL (BOOLEAN): whether there is a value at a path."""
        ...

    def fragile(self, path: Path) -> str | None:
        """SQL (BOOLEAN): whether the text at a path has a number to be protected, where that is known."""
        ...

    def text(self, path: Path) -> str:
        """SQL (VARCHAR) of the scalar at a path; NULL where there is none."""
        ...

    def json(self, path: Path) -> str:
        """SQL (VARCHAR) of the JSON there, as it was written."""
        ...

    def rest(self, without: Sequence[str]) -> str:
        """SQL (VARCHAR) of the object of all members but these."""
        ...


@dataclass
class Wanted:
    """What is wanted of a JSON text."""

    paths: dict[Path, str] = field(default_factory=dict)
    """From here to the type, `VARCHAR` or `JSON`."""

    def want(self, path: Path, kind: str) -> None:
        self.paths[path] = "JSON" if "JSON" in (kind, self.paths.get(path)) else kind

    def want_some(self, path: Path) -> None:
        if not any(wanted[: len(path)] == path for wanted in self.paths):
            self.paths[path] = "VARCHAR"

    @property
    def structure(self) -> str:
        """As `from_json` wants it, quoted."""
        tree: dict[str, Any] = {}
        for path, kind in self.paths.items():
            there = tree
            for step in path[:-1]:
                there = there.setdefault(str(step), {})
            there[str(path[-1])] = kind
        return quoted(msgspec.json.encode(tree or {"offset": "VARCHAR"}).decode())

    @property
    def in_sql(self) -> bool:
        """Whether DuckDB's structures can hold it: no nameless member, none that differ in case only."""
        steps = [tuple(str(step) for step in path) for path in self.paths]
        exact = {path[:n] for path in steps for n in range(1, len(path) + 1)}
        folded = {tuple(step.casefold() for step in path) for path in exact}
        return all(all(path) for path in steps) and len(exact) == len(folded)


def member(struct: str, path: Path) -> str:
    """SQL of a member of a structure."""
    return struct + "".join(f"[{quoted(str(step))}]" for step in path)


def freed_text(struct: str, path: Path, marked: str) -> str:
    """SQL of a scalar in a structure that was parsed from protected JSON."""
    there = member(struct, path)
    return f"CASE WHEN {marked} THEN {number_precision.freed_scalar(there)} ELSE {there} END"


def freed_json(struct: str, path: Path, marked: str) -> str:
    """SQL of the JSON text of a member of such a structure."""
    there = f"CAST({member(struct, path)} AS VARCHAR)"
    return f"(CASE WHEN {marked} THEN {number_precision.freed(there)} ELSE {there} END)"


@dataclass
class Node(Wanted):
    """A JSON text inside of a row."""

    number: int = 0

    @property
    def text(self) -> str:
        return own(f"t{self.number}")

    @property
    def marked(self) -> str:
        return own(f"m{self.number}")

    @property
    def struct(self) -> str:
        return own(f"j{self.number}")


class Compiled:
    """The SQL for a mapping over rows with this root."""

    def __init__(self, mapping: FieldMapping, root: Root) -> None:
        self._root = root
        self._mapping = mapping
        self._nodes: dict[Path, Node] = {}
        self._boundaries: set[Path] = set()
        self._raws: dict[Path, str] = {}
        """Columns that hold the JSON at a path, which several expressions look at."""
        wanted = [(f, mapping.expression(f)) for f in FIELDS]
        self._wanted = {f: e for f, e in wanted if e is not None}
        self._note_boundaries()
        for name, expression in self._wanted.items():
            for leaf in leaves(expression):
                self._plan(leaf, name in PAYLOADS)
        if mapping.skips is not None:
            for leaf in leaves(mapping.skips):
                self._plan(leaf, json=False)
        for path in mapping.fits:
            root.want_some(path)

    @property
    def in_sql(self) -> bool:
        return all(node.in_sql for node in self._nodes.values())

    @property
    def opened(self) -> Collection[Path]:
        """Where JSON stands that is taken apart, beside the row itself."""
        return self._nodes

    def fields(self) -> dict[str, str]:
        """The SQL of each field."""
        texts = {}
        for name, expression in self._wanted.items():
            json = name in PAYLOADS
            texts[name] = self._sql(expression, json)
        if self._mapping.fits and "data" in texts:
            lacks = " OR ".join(f"NOT {self._root.has(path)}" for path in self._mapping.fits)
            # Nobody knows where in it a value stands that must not be kept.
            whole = "CAST(NULL AS VARCHAR)" if self._mapping.redacted else self._root.rest(())
            texts["data"] = f"CASE WHEN {lacks} THEN {whole} ELSE {texts['data']} END"
            emptied = ("type", "meta") if self._mapping.redacted else ("type",)
            for name in emptied:
                if name in texts:
                    texts[name] = f"CASE WHEN NOT ({lacks}) THEN {texts[name]} END"
        if "meta" in texts and isinstance(self._wanted["meta"], Rest):
            texts["meta"] = f"nullif({texts['meta']}, '{{}}')"
        return texts

    @property
    def parsed(self) -> str:
        """SQL of a condition: no text inside that looks like an object failed to be read."""
        nodes = self._nodes.values()
        said = [f"({n.text} IS NULL OR {n.struct} IS NOT NULL OR NOT {n.marked})" for n in nodes]
        return " AND ".join(said) or "true"

    @property
    def skipped(self) -> str:
        """SQL of a condition: the source itself passes over this record."""
        if self._mapping.skips is None:
            return "false"
        return f"coalesce(lower({self._sql(self._mapping.skips, False)}) IN {TRUE}, false)"

    def stages(self) -> tuple[str, ...]:
        """Columns to be computed one after the other, each over those before."""
        stages = self._raw_stages(())
        for path in sorted(self._nodes, key=lambda p: (len(p), self._nodes[p].number)):
            node = self._nodes[path]
            there, opened = self._json_at(path), own(f"o{node.number}")
            stages.append(
                f"CASE WHEN starts_with({there}, '\"') THEN CAST({there} AS JSON) ->> '$'"
                f" ELSE {there} END AS {opened}"
            )
            fragile, known = number_precision.is_fragile(opened), self._root.fragile(path)
            if known is not None:
                fragile = f"CASE WHEN starts_with({there}, '\"') THEN {fragile} ELSE {known} END"
            stages.append(
                f"CASE WHEN NOT starts_with(ltrim({opened}), '{{') OR {_too_deep(opened)} THEN NULL"
                f" ELSE {opened} END AS {node.text}, coalesce({fragile}, false) AS {node.marked}"
            )
            marked = number_precision.protected_in_sql(node.text)
            chosen = f"CASE WHEN {node.marked} THEN {marked} ELSE {node.text} END"
            stages.append(f"try(from_json({chosen}, {node.structure})) AS {node.struct}")
            stages += self._raw_stages(path)
        return tuple(stages)

    def _raw_stages(self, home: Path) -> list[str]:
        """The JSON that is wanted of a node, or of the row itself."""
        said = [
            f"{self._raw(p)} AS {name}" for p, name in self._raws.items() if self._home(p) == home
        ]
        return [", ".join(said)] if said else []

    # Planning

    def _note_boundaries(self) -> None:
        whole: set[Path] = set()
        paths: set[Path] = set()
        skips = [] if self._mapping.skips is None else list(leaves(self._mapping.skips))
        for leaf in [x for e in self._wanted.values() for x in leaves(e)] + skips:
            if isinstance(leaf, Rest) and leaf.path:
                self._boundaries.add(leaf.path)
                paths.add(leaf.path)
            elif not isinstance(leaf, Rest):
                cut = _before_a_place(leaf.path)
                paths.add(cut)
                whole.add(cut)
        for path in paths:
            for n in range(1, len(path)):
                prefix = path[:n]
                inside = prefix in self._mapping.texts or prefix in whole
                if inside or (n == 1 and not self._root.deep):
                    self._boundaries.add(prefix)

    def _plan(self, leaf: At | Header | Rest, json: bool) -> None:
        if isinstance(leaf, Rest):
            if leaf.path:
                self._node(leaf.path)
        elif isinstance(leaf, Header) or _before_a_place(leaf.path) != leaf.path:
            self._leaf(_before_a_place(leaf.path), "JSON")
        else:
            self._leaf(leaf.path, "JSON" if json else "VARCHAR")

    def _home(self, path: Path) -> Path:
        """The node in which a path lies; () is the root."""
        return max(
            (b for b in self._boundaries if b == path[: len(b)] and len(b) < len(path)),
            key=len,
            default=(),
        )

    def _leaf(self, path: Path, kind: str) -> None:
        if kind == "JSON":
            self._raws.setdefault(path, own(f"r{len(self._raws) + 1}"))
        home = self._home(path)
        if home:
            self._node(home).want(path[len(home) :], kind)
        elif path:
            self._root.want(path, kind)

    def _node(self, path: Path) -> Node:
        if path not in self._nodes:
            self._leaf(path, "JSON")
            self._nodes[path] = Node(number=len(self._nodes) + 1)
        return self._nodes[path]

    # SQL

    def _sql(self, expression: Expression, json: bool) -> str:
        match expression:
            case At():
                return self._at(expression.path, json)
            case Header():
                return self._header(expression)
            case Rest():
                return self._rest(expression)
            case Fixed():
                return quoted(expression.text)
            case First():
                options = ", ".join(
                    f"nullif({self._sql(one, json)}, 'null')" for one in expression.of
                )
                return f"coalesce({options})"
            case Joined():
                parts = ", ".join(self._sql(one, False) for one in expression.of)
                return f"nullif(concat_ws({quoted(expression.between)}, {parts}), '')"
            case Match():
                there = self._sql(expression.of, False)
                return f"nullif(regexp_extract({there}, {quoted(expression.pattern)}, 1), '')"

    def _at(self, path: Path, json: bool) -> str:
        cut = _before_a_place(path)
        if cut != path:
            there, inside = self._json_at(cut), path[len(cut) :]
            steps = "".join(f"[{s}]" if isinstance(s, int) else f'."{s}"' for s in inside)
            names = "".join(f'."{s}"' for s in inside)
            asked = (f"CAST({there} AS JSON) ->> {quoted('$' + said)}" for said in (steps, names))
            return f"try(coalesce({', '.join(asked)}))"
        if json:
            there = self._json_at(path)
            # Text that holds an object or a list is taken for what it holds.
            return (
                f"CASE WHEN starts_with({there}, '\"{{') OR starts_with({there}, '\"[')"
                f" THEN (CASE WHEN json_valid({there} ->> '$') THEN {there} ->> '$' ELSE {there} END)"
                f" ELSE {there} END"
            )
        home = self._home(path)
        if not home:
            return self._root.text(path)
        node, inside = self._nodes[home], path[len(home) :]
        if node.paths[inside] == "JSON":
            there = self._json_at(path)
            return f"CASE WHEN starts_with({there}, '\"') THEN {there} ->> '$' ELSE nullif({there}, 'null') END"
        return freed_text(node.struct, inside, node.marked)

    def _json_at(self, path: Path) -> str:
        """The JSON text at a path."""
        return self._raws[path] if path in self._raws else self._raw(path)

    def _raw(self, path: Path) -> str:
        home = self._home(path)
        if not home:
            return self._root.json(path)
        node = self._nodes[home]
        return freed_json(node.struct, path[len(home) :], node.marked)

    def _header(self, leaf: Header) -> str:
        there, name = self._json_at(leaf.path), quoted(leaf.name)
        flat = f"from_json({there}, '[\"VARCHAR\"]')"
        pairs = f"from_json({there}, '{_HEADERS_OF_PAIRS}')"
        member = quoted(f'$."{leaf.name}"')
        return (
            f"CASE WHEN starts_with({there}, '{{') THEN {there} ->> {member}"
            f" WHEN starts_with({there}, '[{{') THEN"
            f" try(list_filter({pairs}, lambda h: h.key = {name})[1].value)"
            f" WHEN starts_with({there}, '[') THEN"
            f" try({flat}[list_position({flat}, {name}) + 1]) END"
        )

    def _rest(self, expression: Rest) -> str:
        if not expression.path:
            return self._root.rest(expression.without)
        node = self._nodes[expression.path]
        return without(node.text, node.marked, expression.without)


def without(text: str, marked: str, names: Sequence[str]) -> str:
    """SQL of a JSON object without some members; its numbers keep their digits."""
    gone = quoted(msgspec.json.encode(dict.fromkeys(names)).decode())
    plain = f"CAST(try(json_merge_patch({text}, {gone})) AS VARCHAR)"
    protected = number_precision.protected_in_sql(text)
    safe = number_precision.freed(f"CAST(try(json_merge_patch({protected}, {gone})) AS VARCHAR)")
    return f"CASE WHEN {marked} THEN {safe} ELSE {plain} END"


def _before_a_place(path: Path) -> Path:
    """A path up to where it goes into a list."""
    return path[: next((n for n, step in enumerate(path) if isinstance(step, int)), len(path))]


def _too_deep(text: str) -> str:
    brackets = f"length({text}) - length(replace(replace({text}, '{{', ''), '[', ''))"
    # Nothing but CASE keeps short texts from being counted.
    return (
        f"CASE WHEN strlen({text}) > {2 * MAX_DEPTH} THEN {brackets} > {MAX_DEPTH} ELSE false END"
    )
