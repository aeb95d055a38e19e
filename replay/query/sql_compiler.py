"""Compiles an expression from DuckDB's syntax tree to SQL.

DuckDB's own parser builds the tree, and only nodes that are listed here become SQL, so no other SQL
gets through. A value of the state is compared as the type of the other side: as a number with all its
digits, as text, or as true or false. If the value is missing or has another type, that comparison is
false, and the rest of the expression is evaluated as usual.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from replay.query.compiled_expression import DOUBLE_SQL, CompiledExpression, pointer_sql
from replay.query.scope import ColumnPath, ExpressionScope, TermKind, find_column_path
from storage.errors import QueryError
from storage.quoting import quote_literal

_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_PATTERN_OPERATORS = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}
_TEXT_TESTS = ("contains", "starts_with", "prefix", "suffix", "ends_with", "regexp_matches")
_NUMBER_FUNCTIONS = ("abs", "round", "floor", "ceil", "least", "greatest", "sign")
_TEXT_FUNCTIONS = (
    "lower",
    "upper",
    "trim",
    "left",
    "right",
    "substring",
    "replace",
    "concat",
    "||",
)
AGGREGATES = ("sum", "avg", "count", "count_star")
_UNSUPPORTED_AGGREGATES = ("min", "max", "median", "any_value", "first", "last")
_LENGTH_FUNCTIONS = ("len", "length", "array_length", "json_array_length")

# A double holds 17 digits. Longer numbers become marked text before DuckDB reads the JSON; the mark is
# removed afterwards.
_HAS_LONG_NUMBER_SQL = "regexp_matches({}, '[0-9.]{{18}}')"
_MARK_NUMBERS_SQL = (
    "regexp_replace({}, '(\":|[\\[,])(-?[0-9]+\\.?[0-9]*)', '\\1\"number:\\2\"', 'g')"
)
EXACT_NUMBER_TYPE = "DECIMAL(38, 12)"
"""The type in which numbers are added and compared if a double isn't exact."""
_IS_WHOLE_NUMBER_SQL = "regexp_full_match(CAST({} AS VARCHAR), '-?[0-9]{{1,38}}')"
"""Whether a number is whole and may have more than the 26 digits before the point of
`EXACT_NUMBER_TYPE`."""
EXACT_DOUBLE_LIMIT = "9e15"
"""A double holds every whole number below this limit exactly."""


@dataclass
class ExpressionCompiler:
    """Compiles one expression from DuckDB's syntax tree, and collects the columns that it needs."""

    text: str
    scope: ExpressionScope
    long_numbers: bool
    role: str = "condition"
    compile_aggregate: Callable[[str, Sequence[dict[str, Any]]], str] | None = None
    """Takes an aggregate's name and arguments, and returns the column that will hold its value."""
    type_mismatches: list[str] = field(default_factory=list)
    length_paths: list[ColumnPath] = field(default_factory=list)
    value_columns: dict[ColumnPath, str] = field(default_factory=dict)
    """The column for the JSON text at each path."""
    derived_columns: dict[str, str] = field(default_factory=dict)
    """Further columns: SQL over `value_columns`, and the column's name."""

    def finish(self, sql: str) -> CompiledExpression:
        """Return the compiled expression; `sql` is its result over the collected columns."""
        mismatches = " OR ".join(dict.fromkeys(self.type_mismatches)) or "false"
        derived_columns = {name: sql for sql, name in self.derived_columns.items()}
        mismatch_sql = f"coalesce({mismatches}, false)"
        return CompiledExpression(
            self.text,
            sql,
            mismatch_sql,
            self.value_columns,
            derived_columns,
            tuple(self.length_paths),
        )

    def compile_json(self, node: dict[str, Any]) -> str:
        """Return the node as SQL whose value is JSON text."""
        kind = self.term_kind(node)
        column_path = self._find_column_path(node)
        if column_path is not None:
            return (
                self._number_column(column_path)
                if self.long_numbers
                else self._json_column(column_path)
            )
        if kind is TermKind.TEXT:
            return f"CAST(to_json({self.compile_value(node, kind)}) AS VARCHAR)"
        if kind is TermKind.TRUTH:
            return f"CAST({self.compile_truth(node)} AS VARCHAR)"
        text = f"CAST({self.compile_value(node, kind)} AS VARCHAR)"
        return (
            f"(CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END)"
        )

    def compile_truth(self, node: dict[str, Any]) -> str:
        """Return the node as SQL whose value is true or false."""
        kind = node["type"]
        if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
            word = f" {kind.removeprefix('CONJUNCTION_')} "
            return f"({word.join(map(self.compile_truth, node['children']))})"
        if kind == "OPERATOR_NOT":
            return f"(NOT {self.compile_truth(node['children'][0])})"
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            return self.compile_is_null(node["children"][0], absent=kind == "OPERATOR_IS_NULL")
        if kind in _COMPARISONS:
            return self._compile_comparison(node["left"], _COMPARISONS[kind], node["right"])
        if kind == "COMPARE_BETWEEN":
            low = self._compile_comparison(node["input"], ">=", node["lower"])
            return f"({low} AND {self._compile_comparison(node['input'], '<=', node['upper'])})"
        if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            what, *choices = node["children"]
            found = " OR ".join(self._compile_comparison(what, "=", choice) for choice in choices)
            return f"({found})" if kind == "COMPARE_IN" else f"(NOT ({found}))"
        if kind == "FUNCTION" and node["function_name"] in _PATTERN_OPERATORS:
            left, right = (self.compile_value(a, TermKind.TEXT) for a in _arguments(node))
            return _false_if_null(f"{left} {_PATTERN_OPERATORS[node['function_name']]} {right}")
        if kind == "FUNCTION" and node["function_name"] in _TEXT_TESTS:
            texts = ", ".join(self.compile_value(a, TermKind.TEXT) for a in _arguments(node))
            return _false_if_null(f"{node['function_name']}({texts})")
        return _false_if_null(self.compile_value(node, TermKind.TRUTH))

    def compile_value(self, node: dict[str, Any], expected_kind: TermKind) -> str:
        """Return the node as SQL of a type; its value is NULL if a value of the state has another type.

        Raises `QueryError` if the node itself has another type, or can't be compiled.
        """
        kind = self.term_kind(node)
        if kind is TermKind.VALUE:
            return self._compile_state_value(
                self._find_column_path(node) or ("", ()), expected_kind
            )
        if kind is not expected_kind:
            raise self._error(f"has {kind.value} where {expected_kind.value} is expected")
        if kind is TermKind.TRUTH and node["class"] != "CONSTANT":
            return self.compile_truth(node)
        if node["class"] == "CONSTANT":
            return _literal_sql(node)
        if node["class"] == "COLUMN_REF":
            return f'"{node["column_names"][0].lower()}"'
        name, arguments = node["function_name"], _arguments(node)
        if name in AGGREGATES and self.compile_aggregate is not None:
            if node.get("distinct") or node.get("filter") or _has_order_by(node):
                raise self._error(
                    f"uses DISTINCT, FILTER or ORDER in {name}. Write count(state.paid > 0) instead"
                )
            return self.compile_aggregate(name, arguments)
        if name in _LENGTH_FUNCTIONS:
            return self._compile_length(arguments[0])
        parts = [
            self.compile_value(a, self._argument_kind(name, argument_index))
            for argument_index, a in enumerate(arguments)
        ]
        if name in ("+", "-", "*", "/", "%", "||"):
            if name in ("*", "/", "%"):
                parts = [f"CAST({part} AS DOUBLE)" for part in parts]
            if name in ("/", "%"):
                # Dividing by zero gives NULL, because infinity would compare as larger than any number.
                parts[1] = f"nullif({parts[1]}, 0)"
            return f"({name}{parts[0]})" if len(parts) == 1 else f"({f' {name} '.join(parts)})"
        return f"{name}({', '.join(parts)})"

    def term_kind(self, node: dict[str, Any]) -> TermKind:
        """Return the type of a node. Raises `QueryError` if expressions can't contain the node."""
        group = node["class"]
        if self._find_column_path(node) is not None:
            return TermKind.VALUE
        if group == "CONSTANT":
            literal_kinds = {
                "INTEGER": TermKind.NUMBER,
                "NUMERIC": TermKind.NUMBER,
                "STRING": TermKind.TEXT,
                "BOOLEAN": TermKind.TRUTH,
            }
            literal = node.get("literal", {}).get("kind")
            if literal in literal_kinds:
                return literal_kinds[literal]
            raise self._error(
                "contains a constant that is not a number, text, true or false. To test for null, use"
                " IS NULL"
            )
        if group == "COLUMN_REF":
            names = [name.lower() for name in node["column_names"]]
            if len(names) == 1 and names[0] in self.scope.plain_columns:
                return self.scope.plain_columns[names[0]]
            name = ".".join(node["column_names"])
            if self.compile_aggregate is not None:
                raise self._error(f"uses {name} outside of sum, avg and count")
            root = next(iter(self.scope.json_columns))
            raise self._error(
                f"uses the unknown name {name}. Did you mean {root}.{name}? Available: {self.scope}"
            )
        if group in ("COMPARISON", "CONJUNCTION", "BETWEEN") or node["type"].startswith(
            ("OPERATOR_NOT", "OPERATOR_IS", "COMPARE_")
        ):
            return TermKind.TRUTH
        if group == "FUNCTION":
            return self._function_kind(node["function_name"])
        construct = group.lower().replace("_", " ")
        article = "an" if construct[0] in "aeiou" else "a"
        raise self._error(f"contains {article} {construct}, which {self.role}s can't contain")

    def _function_kind(self, name: str) -> TermKind:
        if name in (*_PATTERN_OPERATORS, *_TEXT_TESTS):
            return TermKind.TRUTH
        if name in ("+", "-", "*", "/", "%", *_NUMBER_FUNCTIONS, *_LENGTH_FUNCTIONS):
            return TermKind.NUMBER
        if name in AGGREGATES and self.compile_aggregate is not None:
            return TermKind.NUMBER
        if name in _TEXT_FUNCTIONS:
            return TermKind.TEXT
        hint = (
            ". Over all documents, use sum, avg or count" if name in _UNSUPPORTED_AGGREGATES else ""
        )
        raise self._error(f"calls {name}, which {self.role}s can't call{hint}")

    @staticmethod
    def _argument_kind(name: str, argument_index: int) -> TermKind:
        if name not in _TEXT_FUNCTIONS:
            return TermKind.NUMBER
        counted = name in ("left", "right", "substring") and argument_index > 0
        return TermKind.NUMBER if counted else TermKind.TEXT

    def _compile_comparison(self, left: dict[str, Any], sign: str, right: dict[str, Any]) -> str:
        kinds = {self.term_kind(left), self.term_kind(right)}
        known = kinds - {TermKind.VALUE}
        if len(known) > 1:
            raise self._error(f"compares {' with '.join(sorted(k.value for k in known))}")
        if known:
            kind = known.pop()
            if kind is TermKind.NUMBER:
                return self._compile_number_comparison(left, sign, right)
            return _false_if_null(
                f"{self.compile_value(left, kind)} {sign} {self.compile_value(right, kind)}"
            )
        first, second = (self._find_column_path(node) or ("", ()) for node in (left, right))
        same = " OR ".join(
            _false_if_null(
                f"{self._text_or_truth_sql(first, kind)} {sign} {self._text_or_truth_sql(second, kind)}"
            )
            for kind in (TermKind.TEXT, TermKind.TRUTH)
        )
        return f"({same} OR {self._compile_number_comparison(left, sign, right)})"

    def _compile_number_comparison(
        self, left: dict[str, Any], sign: str, right: dict[str, Any]
    ) -> str:
        """Return SQL that compares doubles if these are exact, and 38 digits if they may not be."""
        sides = [self.compile_digits(left), self.compile_digits(right)]
        exact = [f"TRY_CAST({side} AS {EXACT_NUMBER_TYPE})" for side in sides]
        rough = [self.compile_double(side) for side in sides]
        double = f"{rough[0]} {sign} {rough[1]}"
        fits = " AND ".join(f"CAST({e} AS DOUBLE) = {r}" for e, r in zip(exact, rough, strict=True))
        exact_comparison = f"CASE WHEN {fits} THEN {exact[0]} {sign} {exact[1]}"
        whole = " AND ".join(_IS_WHOLE_NUMBER_SQL.format(side) for side in sides)
        long = [f"TRY_CAST({side} AS HUGEINT)" for side in sides]
        exact_comparison += f" WHEN {whole} THEN {long[0]} {sign} {long[1]} ELSE {double} END"
        if self.long_numbers:
            return _false_if_null(exact_comparison)
        small = " AND ".join(f"abs({r}) < {EXACT_DOUBLE_LIMIT}" for r in rough)
        return _false_if_null(f"CASE WHEN {small} THEN {double} ELSE {exact_comparison} END")

    def compile_digits(self, node: dict[str, Any]) -> str:
        """Return SQL for a number: as it is written if it is a value of the state, else its result."""
        column_path = self._find_column_path(node)
        if column_path is None:
            return self.compile_value(node, TermKind.NUMBER)
        self.type_mismatches.append(self._type_mismatch_sql(column_path, TermKind.NUMBER))
        return self._number_column(column_path)

    def compile_double(self, number: str) -> str:
        """Return the column that holds a number as a double; NULL if it isn't a number."""
        return self._add_derived_column(DOUBLE_SQL.format(number))

    def _add_derived_column(self, sql: str) -> str:
        """Add a column and return its name.

        DuckDB evaluates an expression again in each branch of a CASE that uses it, but a column once.
        """
        if self.compile_aggregate is not None:
            return sql  # sums have one row for each event, so a column would save nothing
        return self.derived_columns.setdefault(sql, f"n{len(self.derived_columns)}")

    def _compile_state_value(self, column_path: ColumnPath, expected_kind: TermKind) -> str:
        self.type_mismatches.append(self._type_mismatch_sql(column_path, expected_kind))
        if expected_kind is TermKind.NUMBER:
            return self._add_derived_column(
                f"TRY_CAST({self._number_column(column_path)} AS {EXACT_NUMBER_TYPE})"
            )
        return self._text_or_truth_sql(column_path, expected_kind)

    def _json_column(self, column_path: ColumnPath) -> str:
        """Return the column for the JSON text at a path; NULL if there is no value."""
        return self.value_columns.setdefault(column_path, f"v{len(self.value_columns)}")

    def _number_column(self, column_path: ColumnPath) -> str:
        """Return the column for the value at a path, a number with all its digits.

        Any other value is text that SQL doesn't cast to a number.
        """
        if not self.long_numbers:
            return self._json_column(column_path)
        column, path = column_path
        json = self._json_column(column_path)
        marked = _MARK_NUMBERS_SQL.format(column)
        # Marking breaks the JSON if a text contains what looks like a number's place, hence `try`.
        extracted = f"coalesce(try(json_extract_string({marked}, {pointer_sql(path)})), {json})"
        unmarked = f"replace({extracted}, 'number:', '')"
        long = _HAS_LONG_NUMBER_SQL.format(column)
        exact = (
            f"CASE WHEN {long} AND NOT starts_with({json}, '\"') THEN {unmarked} ELSE {json} END"
        )
        return self._add_derived_column(exact)

    def _text_or_truth_sql(self, column_path: ColumnPath, kind: TermKind) -> str:
        """Return SQL for the text, or for true or false, at a path; NULL if the value is neither."""
        json = self._json_column(column_path)
        if kind is TermKind.TRUTH:
            return f"(CASE {json} WHEN 'true' THEN true WHEN 'false' THEN false END)"
        # Extracting `$` decodes the escapes of the JSON string.
        return f"(CASE WHEN starts_with({json}, '\"') THEN json_extract_string({json}, '$') END)"

    def _type_mismatch_sql(self, column_path: ColumnPath, expected_kind: TermKind) -> str:
        """Return SQL for whether the value at a path is present, not null and of another type."""
        json = self._json_column(column_path)
        has_other_type = {
            TermKind.NUMBER: f"{self.compile_double(json)} IS NULL",
            TermKind.TEXT: f"NOT starts_with({json}, '\"')",
            TermKind.TRUTH: f"{json} NOT IN ('true', 'false')",
        }[expected_kind]
        return f"({json} <> 'null' AND {has_other_type})"

    def compile_is_null(self, node: dict[str, Any], *, absent: bool) -> str:
        column_path = self._find_column_path(node)
        if column_path is None:
            raise self._error("uses IS NULL on something other than a value of the state")
        is_present = _false_if_null(f"{self._json_column(column_path)} <> 'null'")
        return f"(NOT {is_present})" if absent else is_present

    def _compile_length(self, node: dict[str, Any]) -> str:
        column_path = self._find_column_path(node)
        if column_path is None:
            return f"length({self.compile_value(node, TermKind.TEXT)})"
        self.length_paths.append(column_path)
        json = self._json_column(column_path)
        return (
            f"(CASE left({json}, 1) WHEN '[' THEN json_array_length({json}) WHEN '{{' THEN"
            f" len(json_keys({json})) WHEN '\"' THEN"
            f" length({self._text_or_truth_sql(column_path, TermKind.TEXT)}) END)"
        )

    def _find_column_path(self, node: dict[str, Any]) -> ColumnPath | None:
        return find_column_path(node, self.scope)

    def _error(self, problem: str) -> QueryError:
        return QueryError(f"The {self.role} {self.text!r} {problem}.")


def _arguments(node: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [argument["expression"] for argument in node["arguments"]]


def _has_order_by(node: dict[str, Any]) -> bool:
    return bool((node.get("order_bys") or {}).get("orders"))


def _literal_sql(node: dict[str, Any]) -> str:
    literal = node["literal"]
    return quote_literal(literal["text"]) if literal["kind"] == "STRING" else str(literal["text"])


def _false_if_null(sql: str) -> str:
    return f"coalesce({sql}, false)"
