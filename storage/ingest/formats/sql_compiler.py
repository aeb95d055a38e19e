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
from storage.ingest.mapping import FIELDS, PAYLOAD_FIELDS, FieldMapping
from storage.ingest.mapping.expressions import (
    Expression,
    FieldPath,
    FirstPresent,
    FixedText,
    HeaderValue,
    JoinedText,
    PathValue,
    RegexGroup,
    RemainingMembers,
    iterate_leaves,
)
from storage.quoting import quote_literal, unique_column_name

TRUE_TEXTS = ("true", "t", "1")
"""How a source writes that it passes over a record."""

_HEADERS_OF_PAIRS = '[{"key":"VARCHAR","value":"VARCHAR"}]'


class RowSql(Protocol):
    """What a batch's row holds before anything inside of it is parsed."""

    reaches_into_objects: bool
    """Whether it reaches into objects itself."""

    def request_path(self, path: FieldPath, kind: str) -> None:
        """Say beforehand what will be asked for, as a type: `VARCHAR` or `JSON`."""
        ...

    def request_presence(self, path: FieldPath) -> None:
        """Say, after all that, that `has` will be asked for."""
        ...

    def has_value_sql(self, path: FieldPath) -> str:
        """SQL (BOOLEAN): whether there is a value at a path."""
        ...

    def has_fragile_number_sql(self, path: FieldPath) -> str | None:
        """SQL (BOOLEAN): whether the text at a path has a number to be protected, where that is known."""
        ...

    def text_sql(self, path: FieldPath) -> str:
        """SQL (VARCHAR) of the scalar at a path; NULL where there is none."""
        ...

    def json_sql(self, path: FieldPath) -> str:
        """SQL (VARCHAR) of the JSON there, as it was written."""
        ...

    def rest_sql(self, excluded: Sequence[str]) -> str:
        """SQL (VARCHAR) of the object of all members but these."""
        ...


@dataclass
class RequestedPaths:
    """What is wanted of a JSON text."""

    type_by_path: dict[FieldPath, str] = field(default_factory=dict)
    """From here to the type, `VARCHAR` or `JSON`."""

    def request_path(self, path: FieldPath, kind: str) -> None:
        self.type_by_path[path] = "JSON" if "JSON" in (kind, self.type_by_path.get(path)) else kind

    def request_presence(self, path: FieldPath) -> None:
        if not any(wanted[: len(path)] == path for wanted in self.type_by_path):
            self.type_by_path[path] = "VARCHAR"

    @property
    def structure_sql(self) -> str:
        """As `from_json` wants it, quoted."""
        tree: dict[str, Any] = {}
        for path, kind in self.type_by_path.items():
            level = tree
            for step in path[:-1]:
                level = level.setdefault(str(step), {})
            level[str(path[-1])] = kind
        return quote_literal(msgspec.json.encode(tree or {"offset": "VARCHAR"}).decode())

    @property
    def is_representable(self) -> bool:
        """Whether DuckDB's structures can hold it: no nameless member, none that differ in case only."""
        steps = [tuple(str(step) for step in path) for path in self.type_by_path]
        exact = {path[:n] for path in steps for n in range(1, len(path) + 1)}
        case_folded = {tuple(step.casefold() for step in path) for path in exact}
        return all(all(path) for path in steps) and len(exact) == len(case_folded)


def struct_member_sql(struct_sql: str, path: FieldPath) -> str:
    """SQL of a member of a structure."""
    return struct_sql + "".join(f"[{quote_literal(str(step))}]" for step in path)


def member_text_sql(struct: str, path: FieldPath, is_marked: str) -> str:
    """SQL of a scalar in a structure that was parsed from protected JSON."""
    member_sql = struct_member_sql(struct, path)
    return f"CASE WHEN {is_marked} THEN {number_precision.free_scalar_sql(member_sql)} ELSE {member_sql} END"


def member_json_sql(struct: str, path: FieldPath, is_marked: str) -> str:
    """SQL of the JSON text of a member of such a structure."""
    member_sql = f"CAST({struct_member_sql(struct, path)} AS VARCHAR)"
    return f"(CASE WHEN {is_marked} THEN {number_precision.free_numbers_sql(member_sql)} ELSE {member_sql} END)"


@dataclass
class JsonNode(RequestedPaths):
    """A JSON text inside of a row."""

    number: int = 0

    @property
    def text_column(self) -> str:
        return unique_column_name(f"t{self.number}")

    @property
    def is_marked_column(self) -> str:
        return unique_column_name(f"m{self.number}")

    @property
    def struct_column(self) -> str:
        return unique_column_name(f"j{self.number}")


class CompiledMapping:
    """The SQL for a mapping over rows with this root."""

    def __init__(self, mapping: FieldMapping, row: RowSql) -> None:
        self._row = row
        self._mapping = mapping
        self._node_by_path: dict[FieldPath, JsonNode] = {}
        self._boundaries: set[FieldPath] = set()
        self._json_column_by_path: dict[FieldPath, str] = {}
        """Columns that hold the JSON at a path, which several expressions look at."""
        expressions = [(f, mapping.expression_for(f)) for f in FIELDS]
        self._expression_by_field = {f: e for f, e in expressions if e is not None}
        self._find_boundaries()
        for name, expression in self._expression_by_field.items():
            for leaf in iterate_leaves(expression):
                self._request_leaf(leaf, name in PAYLOAD_FIELDS)
        if mapping.skip_condition is not None:
            for leaf in iterate_leaves(mapping.skip_condition):
                self._request_leaf(leaf, is_payload=False)
        for path in mapping.required_paths:
            row.request_presence(path)

    @property
    def is_representable(self) -> bool:
        return all(node.is_representable for node in self._node_by_path.values())

    @property
    def parsed_paths(self) -> Collection[FieldPath]:
        """Where JSON stands that is taken apart, beside the row itself."""
        return self._node_by_path

    def compile_fields(self) -> dict[str, str]:
        """The SQL of each field."""
        texts = {}
        for name, expression in self._expression_by_field.items():
            is_payload = name in PAYLOAD_FIELDS
            texts[name] = self._expression_sql(expression, is_payload)
        if self._mapping.required_paths and "data" in texts:
            lacks_required = " OR ".join(
                f"NOT {self._row.has_value_sql(path)}" for path in self._mapping.required_paths
            )
            # Nobody knows where in it a value stands that must not be kept.
            whole = "CAST(NULL AS VARCHAR)" if self._mapping.redacted else self._row.rest_sql(())
            texts["data"] = f"CASE WHEN {lacks_required} THEN {whole} ELSE {texts['data']} END"
            emptied = ("type", "meta") if self._mapping.redacted else ("type",)
            for name in emptied:
                if name in texts:
                    texts[name] = f"CASE WHEN NOT ({lacks_required}) THEN {texts[name]} END"
        if "meta" in texts and isinstance(self._expression_by_field["meta"], RemainingMembers):
            texts["meta"] = f"nullif({texts['meta']}, '{{}}')"
        return texts

    @property
    def is_parsed_sql(self) -> str:
        """SQL of a condition: no text inside that looks like an object failed to be read."""
        nodes = self._node_by_path.values()
        conditions = [
            f"({n.text_column} IS NULL OR {n.struct_column} IS NOT NULL OR NOT {n.is_marked_column})"
            for n in nodes
        ]
        return " AND ".join(conditions) or "true"

    @property
    def is_skipped_sql(self) -> str:
        """SQL of a condition: the source itself passes over this record."""
        if self._mapping.skip_condition is None:
            return "false"
        return (
            f"coalesce(lower({self._expression_sql(self._mapping.skip_condition, False)}) IN"
            f" {TRUE_TEXTS}, false)"
        )

    def compile_stages(self) -> tuple[str, ...]:
        """Columns to be computed one after the other, each over those before."""
        stages = self._json_stages(())
        for path in sorted(
            self._node_by_path, key=lambda p: (len(p), self._node_by_path[p].number)
        ):
            node = self._node_by_path[path]
            there, opened = self._json_column_or_sql(path), unique_column_name(f"o{node.number}")
            stages.append(
                f"CASE WHEN starts_with({there}, '\"') THEN CAST({there} AS JSON) ->> '$'"
                f" ELSE {there} END AS {opened}"
            )
            fragile, known = (
                number_precision.is_fragile_sql(opened),
                self._row.has_fragile_number_sql(path),
            )
            if known is not None:
                fragile = f"CASE WHEN starts_with({there}, '\"') THEN {fragile} ELSE {known} END"
            stages.append(
                f"CASE WHEN NOT starts_with(ltrim({opened}), '{{') OR {_may_be_too_deep_sql(opened)} THEN NULL"
                f" ELSE {opened} END AS {node.text_column}, coalesce({fragile}, false) AS"
                f" {node.is_marked_column}"
            )
            marked = number_precision.protect_numbers_sql(node.text_column)
            chosen = f"CASE WHEN {node.is_marked_column} THEN {marked} ELSE {node.text_column} END"
            stages.append(f"try(from_json({chosen}, {node.structure_sql})) AS {node.struct_column}")
            stages += self._json_stages(path)
        return tuple(stages)

    def _json_stages(self, home: FieldPath) -> list[str]:
        """The JSON that is wanted of a node, or of the row itself."""
        columns = [
            f"{self._json_sql(p)} AS {name}"
            for p, name in self._json_column_by_path.items()
            if self._node_path_of(p) == home
        ]
        return [", ".join(columns)] if columns else []

    # Planning

    def _find_boundaries(self) -> None:
        whole: set[FieldPath] = set()
        paths: set[FieldPath] = set()
        skips = (
            []
            if self._mapping.skip_condition is None
            else list(iterate_leaves(self._mapping.skip_condition))
        )
        for leaf in [
            x for e in self._expression_by_field.values() for x in iterate_leaves(e)
        ] + skips:
            if isinstance(leaf, RemainingMembers) and leaf.path:
                self._boundaries.add(leaf.path)
                paths.add(leaf.path)
            elif not isinstance(leaf, RemainingMembers):
                cut = _path_before_index(leaf.path)
                paths.add(cut)
                whole.add(cut)
        for path in paths:
            for n in range(1, len(path)):
                prefix = path[:n]
                inside = prefix in self._mapping.texts or prefix in whole
                if inside or (n == 1 and not self._row.reaches_into_objects):
                    self._boundaries.add(prefix)

    def _request_leaf(
        self, leaf: PathValue | HeaderValue | RemainingMembers, is_payload: bool
    ) -> None:
        if isinstance(leaf, RemainingMembers):
            if leaf.path:
                self._get_or_add_node(leaf.path)
        elif isinstance(leaf, HeaderValue) or _path_before_index(leaf.path) != leaf.path:
            self._request_path(_path_before_index(leaf.path), "JSON")
        else:
            self._request_path(leaf.path, "JSON" if is_payload else "VARCHAR")

    def _node_path_of(self, path: FieldPath) -> FieldPath:
        """The node in which a path lies; () is the root."""
        return max(
            (b for b in self._boundaries if b == path[: len(b)] and len(b) < len(path)),
            key=len,
            default=(),
        )

    def _request_path(self, path: FieldPath, kind: str) -> None:
        if kind == "JSON":
            self._json_column_by_path.setdefault(
                path, unique_column_name(f"r{len(self._json_column_by_path) + 1}")
            )
        home = self._node_path_of(path)
        if home:
            self._get_or_add_node(home).request_path(path[len(home) :], kind)
        elif path:
            self._row.request_path(path, kind)

    def _get_or_add_node(self, path: FieldPath) -> JsonNode:
        if path not in self._node_by_path:
            self._request_path(path, "JSON")
            self._node_by_path[path] = JsonNode(number=len(self._node_by_path) + 1)
        return self._node_by_path[path]

    # SQL

    def _expression_sql(self, expression: Expression, is_payload: bool) -> str:
        match expression:
            case PathValue():
                return self._path_sql(expression.path, is_payload)
            case HeaderValue():
                return self._header_sql(expression)
            case RemainingMembers():
                return self._rest_sql(expression)
            case FixedText():
                return quote_literal(expression.text)
            case FirstPresent():
                options = ", ".join(
                    f"nullif({self._expression_sql(one, is_payload)}, 'null')"
                    for one in expression.operands
                )
                return f"coalesce({options})"
            case JoinedText():
                parts = ", ".join(self._expression_sql(one, False) for one in expression.operands)
                return f"nullif(concat_ws({quote_literal(expression.separator)}, {parts}), '')"
            case RegexGroup():
                there = self._expression_sql(expression.operand, False)
                return (
                    f"nullif(regexp_extract({there}, {quote_literal(expression.pattern)}, 1), '')"
                )

    def _path_sql(self, path: FieldPath, is_payload: bool) -> str:
        before_index = _path_before_index(path)
        if before_index != path:
            there, inside = self._json_column_or_sql(before_index), path[len(before_index) :]
            steps = "".join(f"[{s}]" if isinstance(s, int) else f'."{s}"' for s in inside)
            names = "".join(f'."{s}"' for s in inside)
            asked = (
                f"CAST({there} AS JSON) ->> {quote_literal('$' + said)}" for said in (steps, names)
            )
            return f"try(coalesce({', '.join(asked)}))"
        if is_payload:
            there = self._json_column_or_sql(path)
            # Text that holds an object or a list is taken for what it holds.
            return (
                f"CASE WHEN starts_with({there}, '\"{{') OR starts_with({there}, '\"[')"
                f" THEN (CASE WHEN json_valid({there} ->> '$') THEN {there} ->> '$' ELSE {there} END)"
                f" ELSE {there} END"
            )
        home = self._node_path_of(path)
        if not home:
            return self._row.text_sql(path)
        node, inside = self._node_by_path[home], path[len(home) :]
        if node.type_by_path[inside] == "JSON":
            there = self._json_column_or_sql(path)
            return f"CASE WHEN starts_with({there}, '\"') THEN {there} ->> '$' ELSE nullif({there}, 'null') END"
        return member_text_sql(node.struct_column, inside, node.is_marked_column)

    def _json_column_or_sql(self, path: FieldPath) -> str:
        """The JSON text at a path."""
        return (
            self._json_column_by_path[path]
            if path in self._json_column_by_path
            else self._json_sql(path)
        )

    def _json_sql(self, path: FieldPath) -> str:
        home = self._node_path_of(path)
        if not home:
            return self._row.json_sql(path)
        node = self._node_by_path[home]
        return member_json_sql(node.struct_column, path[len(home) :], node.is_marked_column)

    def _header_sql(self, leaf: HeaderValue) -> str:
        there, name = self._json_column_or_sql(leaf.path), quote_literal(leaf.header_name)
        flat = f"from_json({there}, '[\"VARCHAR\"]')"
        pairs = f"from_json({there}, '{_HEADERS_OF_PAIRS}')"
        member = quote_literal(f'$."{leaf.header_name}"')
        return (
            f"CASE WHEN starts_with({there}, '{{') THEN {there} ->> {member}"
            f" WHEN starts_with({there}, '[{{') THEN"
            f" try(list_filter({pairs}, lambda h: h.key = {name})[1].value)"
            f" WHEN starts_with({there}, '[') THEN"
            f" try({flat}[list_position({flat}, {name}) + 1]) END"
        )

    def _rest_sql(self, expression: RemainingMembers) -> str:
        if not expression.path:
            return self._row.rest_sql(expression.excluded)
        node = self._node_by_path[expression.path]
        return without_members_sql(node.text_column, node.is_marked_column, expression.excluded)


def without_members_sql(text: str, is_marked: str, names: Sequence[str]) -> str:
    """SQL of a JSON object without some members; its numbers keep their digits."""
    removed = quote_literal(msgspec.json.encode(dict.fromkeys(names)).decode())
    plain = f"CAST(try(json_merge_patch({text}, {removed})) AS VARCHAR)"
    protected = number_precision.protect_numbers_sql(text)
    safe = number_precision.free_numbers_sql(
        f"CAST(try(json_merge_patch({protected}, {removed})) AS VARCHAR)"
    )
    return f"CASE WHEN {is_marked} THEN {safe} ELSE {plain} END"


def _path_before_index(path: FieldPath) -> FieldPath:
    """A path up to where it goes into a list."""
    return path[: next((n for n, step in enumerate(path) if isinstance(step, int)), len(path))]


def _may_be_too_deep_sql(text: str) -> str:
    brackets = f"length({text}) - length(replace(replace({text}, '{{', ''), '[', ''))"
    # Nothing but CASE keeps short texts from being counted.
    return (
        f"CASE WHEN strlen({text}) > {2 * MAX_DEPTH} THEN {brackets} > {MAX_DEPTH} ELSE false END"
    )
