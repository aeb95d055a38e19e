"""Compile a mapping's expressions to SQL: stages that parse JSON once per row, and the fields.

A record is a tree of JSON texts: the line itself or a column, and any text inside that holds JSON.
Each such text is a node. One `from_json` parses it into the requested members, with its numbers
protected (see `storage.ingest.formats.number_precision`).
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
"""Values of a skip condition that count as true."""

_HEADERS_OF_PAIRS = '[{"key":"VARCHAR","value":"VARCHAR"}]'


class RowSql(Protocol):
    """A row of a batch as the root of a record, before the JSON inside it is parsed."""

    reaches_into_objects: bool
    """Whether the row itself resolves paths into objects, as a line of JSON does."""

    def request_path(self, path: FieldPath, kind: str) -> None:
        """Request the value at a path before SQL is compiled; `kind` is `VARCHAR` or `JSON`."""
        ...

    def request_presence(self, path: FieldPath) -> None:
        """Request `has_value_sql` for a path; called after all calls of `request_path`."""
        ...

    def has_value_sql(self, path: FieldPath) -> str:
        """Return SQL (BOOLEAN): a value exists at the path."""
        ...

    def has_fragile_number_sql(self, path: FieldPath) -> str | None:
        """Return SQL (BOOLEAN): the text at the path has a fragile number; None if unknown."""
        ...

    def text_sql(self, path: FieldPath) -> str:
        """Return SQL (VARCHAR) of the scalar at the path; NULL if there is none."""
        ...

    def json_sql(self, path: FieldPath) -> str:
        """Return SQL (VARCHAR) of the JSON at the path, as written."""
        ...

    def rest_sql(self, excluded: Sequence[str]) -> str:
        """Return SQL (VARCHAR) of the object with all members except `excluded`."""
        ...


@dataclass
class RequestedPaths:
    """The members that expressions request of a JSON text."""

    type_by_path: dict[FieldPath, str] = field(default_factory=dict)
    """Type (`VARCHAR` or `JSON`) by path, relative to the text."""

    def request_path(self, path: FieldPath, kind: str) -> None:
        self.type_by_path[path] = "JSON" if "JSON" in (kind, self.type_by_path.get(path)) else kind

    def request_presence(self, path: FieldPath) -> None:
        if not any(requested[: len(path)] == path for requested in self.type_by_path):
            self.type_by_path[path] = "VARCHAR"

    @property
    def structure_sql(self) -> str:
        """The structure argument of `from_json`, as an SQL literal."""
        tree: dict[str, Any] = {}
        for path, kind in self.type_by_path.items():
            level = tree
            for step in path[:-1]:
                level = level.setdefault(str(step), {})
            level[str(path[-1])] = kind
        return quote_literal(msgspec.json.encode(tree or {"offset": "VARCHAR"}).decode())

    @property
    def is_representable(self) -> bool:
        """Whether a DuckDB STRUCT can hold the members: none is nameless, none differ only in case."""
        steps = [tuple(str(step) for step in path) for path in self.type_by_path]
        exact = {path[:n] for path in steps for n in range(1, len(path) + 1)}
        case_folded = {tuple(step.casefold() for step in path) for path in exact}
        return all(all(path) for path in steps) and len(exact) == len(case_folded)


def struct_member_sql(struct_sql: str, path: FieldPath) -> str:
    """Return SQL of a member of a STRUCT."""
    return struct_sql + "".join(f"[{quote_literal(str(step))}]" for step in path)


def member_text_sql(struct: str, path: FieldPath, is_marked: str) -> str:
    """Return SQL of a scalar member of a STRUCT that was parsed from protected JSON."""
    member_sql = struct_member_sql(struct, path)
    return f"CASE WHEN {is_marked} THEN {number_precision.free_scalar_sql(member_sql)} ELSE {member_sql} END"


def member_json_sql(struct: str, path: FieldPath, is_marked: str) -> str:
    """Return SQL of the JSON text of a member of a STRUCT that was parsed from protected JSON."""
    member_sql = f"CAST({struct_member_sql(struct, path)} AS VARCHAR)"
    return f"(CASE WHEN {is_marked} THEN {number_precision.free_numbers_sql(member_sql)} ELSE {member_sql} END)"


@dataclass
class JsonNode(RequestedPaths):
    """A JSON text inside a row, and the columns that its stages compute."""

    number: int = 0
    """Makes the names of the columns unique."""

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
    """The SQL of a mapping over rows of one kind."""

    def __init__(self, mapping: FieldMapping, row: RowSql) -> None:
        self._row = row
        self._mapping = mapping
        self._node_by_path: dict[FieldPath, JsonNode] = {}
        self._boundaries: set[FieldPath] = set()
        self._json_column_by_path: dict[FieldPath, str] = {}
        """Column that holds the JSON at a path, because several expressions may use it."""
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
        """The paths of JSON texts inside the row that the stages parse."""
        return self._node_by_path

    def compile_fields(self) -> dict[str, str]:
        """Return the SQL (VARCHAR) of each field that the source has."""
        texts = {}
        for name, expression in self._expression_by_field.items():
            is_payload = name in PAYLOAD_FIELDS
            texts[name] = self._expression_sql(expression, is_payload)
        if self._mapping.required_paths and "data" in texts:
            lacks_required = " OR ".join(
                f"NOT {self._row.has_value_sql(path)}" for path in self._mapping.required_paths
            )
            # With redaction drop the whole record: its values to redact can't be located.
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
        """An SQL condition: every text with protected numbers was parsed."""
        nodes = self._node_by_path.values()
        conditions = [
            f"({n.text_column} IS NULL OR {n.struct_column} IS NOT NULL OR NOT {n.is_marked_column})"
            for n in nodes
        ]
        return " AND ".join(conditions) or "true"

    @property
    def is_skipped_sql(self) -> str:
        """An SQL condition: the source marks this record as skipped."""
        if self._mapping.skip_condition is None:
            return "false"
        return (
            f"coalesce(lower({self._expression_sql(self._mapping.skip_condition, False)}) IN"
            f" {TRUE_TEXTS}, false)"
        )

    def compile_stages(self) -> tuple[str, ...]:
        """Return select lists to compute in this order; each may use the columns before it."""
        stages = self._json_stages(())
        for path in sorted(
            self._node_by_path, key=lambda p: (len(p), self._node_by_path[p].number)
        ):
            node = self._node_by_path[path]
            json_sql, opened = self._json_column_or_sql(path), unique_column_name(f"o{node.number}")
            stages.append(
                f"CASE WHEN starts_with({json_sql}, '\"') THEN CAST({json_sql} AS JSON) ->> '$'"
                f" ELSE {json_sql} END AS {opened}"
            )
            fragile, known = (
                number_precision.is_fragile_sql(opened),
                self._row.has_fragile_number_sql(path),
            )
            if known is not None:
                fragile = f"CASE WHEN starts_with({json_sql}, '\"') THEN {fragile} ELSE {known} END"
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
        """Return the stage, if any, with the requested JSON of a node; () is the row itself."""
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
        """Return the path of the innermost node that contains a path; () is the row itself."""
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
                text_sql = self._expression_sql(expression.operand, False)
                pattern = quote_literal(expression.pattern)
                return f"nullif(regexp_extract({text_sql}, {pattern}, 1), '')"

    def _path_sql(self, path: FieldPath, is_payload: bool) -> str:
        before_index = _path_before_index(path)
        if before_index != path:
            json_sql, inside = self._json_column_or_sql(before_index), path[len(before_index) :]
            steps = "".join(f"[{s}]" if isinstance(s, int) else f'."{s}"' for s in inside)
            names = "".join(f'."{s}"' for s in inside)
            alternatives = (
                f"CAST({json_sql} AS JSON) ->> {quote_literal('$' + json_path)}"
                for json_path in (steps, names)
            )
            return f"try(coalesce({', '.join(alternatives)}))"
        if is_payload:
            json_sql = self._json_column_or_sql(path)
            # A string that holds an object or a list becomes that object or list.
            return (
                f"CASE WHEN starts_with({json_sql}, '\"{{') OR starts_with({json_sql}, '\"[') THEN"
                f" (CASE WHEN json_valid({json_sql} ->> '$') THEN {json_sql} ->> '$' ELSE {json_sql} END)"
                f" ELSE {json_sql} END"
            )
        home = self._node_path_of(path)
        if not home:
            return self._row.text_sql(path)
        node, inside = self._node_by_path[home], path[len(home) :]
        if node.type_by_path[inside] == "JSON":
            json_sql = self._json_column_or_sql(path)
            return (
                f"CASE WHEN starts_with({json_sql}, '\"') THEN {json_sql} ->> '$'"
                f" ELSE nullif({json_sql}, 'null') END"
            )
        return member_text_sql(node.struct_column, inside, node.is_marked_column)

    def _json_column_or_sql(self, path: FieldPath) -> str:
        """Return the column that holds the JSON at a path, or SQL of it."""
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
        json_sql, name = self._json_column_or_sql(leaf.path), quote_literal(leaf.header_name)
        flat = f"from_json({json_sql}, '[\"VARCHAR\"]')"
        pairs = f"from_json({json_sql}, '{_HEADERS_OF_PAIRS}')"
        member = quote_literal(f'$."{leaf.header_name}"')
        return (
            f"CASE WHEN starts_with({json_sql}, '{{') THEN {json_sql} ->> {member}"
            f" WHEN starts_with({json_sql}, '[{{') THEN"
            f" try(list_filter({pairs}, lambda h: h.key = {name})[1].value)"
            f" WHEN starts_with({json_sql}, '[') THEN"
            f" try({flat}[list_position({flat}, {name}) + 1]) END"
        )

    def _rest_sql(self, expression: RemainingMembers) -> str:
        if not expression.path:
            return self._row.rest_sql(expression.excluded)
        node = self._node_by_path[expression.path]
        return without_members_sql(node.text_column, node.is_marked_column, expression.excluded)


def without_members_sql(text: str, is_marked: str, names: Sequence[str]) -> str:
    """Return SQL of a JSON object without the members `names`; its numbers keep their digits."""
    removed = quote_literal(msgspec.json.encode(dict.fromkeys(names)).decode())
    plain = f"CAST(try(json_merge_patch({text}, {removed})) AS VARCHAR)"
    protected = number_precision.protect_numbers_sql(text)
    safe = number_precision.free_numbers_sql(
        f"CAST(try(json_merge_patch({protected}, {removed})) AS VARCHAR)"
    )
    return f"CASE WHEN {is_marked} THEN {safe} ELSE {plain} END"


def _path_before_index(path: FieldPath) -> FieldPath:
    """Return the steps of a path before its first index into a list."""
    return path[: next((n for n, step in enumerate(path) if isinstance(step, int)), len(path))]


def _may_be_too_deep_sql(text: str) -> str:
    brackets = f"length({text}) - length(replace(replace({text}, '{{', ''), '[', ''))"
    # CASE, unlike AND, keeps DuckDB from counting the brackets of short texts.
    return (
        f"CASE WHEN strlen({text}) > {2 * MAX_DEPTH} THEN {brackets} > {MAX_DEPTH} ELSE false END"
    )
