"""One expression on its way from the parser's tree to SQL.

DuckDB's own parser takes it apart, and only what is known here is put together again, so nothing
else of SQL gets through. A value of the state is compared as what it is compared with: as a number
with all its digits, as text, as true or false. A value of another kind, and one that isn't there,
makes the comparison false, and what it is part of goes on with that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replay.document import paths
from replay.document.paths import Path
from replay.query.scope import Kind, Names, Place, place_of
from storage.errors import QueryError
from storage.quoting import quoted


@dataclass(frozen=True)
class Expression:
    """An expression, as SQL over a row with the columns of its names."""

    text: str
    """As it was typed."""
    sql: str
    """Over the row and the columns of `values`; a condition is true or false, never NULL."""
    others: str
    """Whether a value is there, but of another kind than it is compared as."""
    places: Mapping[Place, str]
    """What it names, and the columns with its JSON text; NULL where there is nothing."""
    further: Mapping[str, str]
    """Further columns, as SQL over those."""
    lengths: tuple[Place, ...]
    """What of its places it asks the length of."""

    @property
    def values(self) -> str:
        """SQL for its columns, each value taken out of its JSON once."""
        return _columns({**self._taken_out(), **self.further})

    def values_of_numbers(self, numbers: Mapping[Path, str]) -> str | None:
        """The same out of columns with numbers of the state; None where it names anything else."""
        if any(column != "state" or path not in numbers for column, path in self.places):
            return None
        own = {name: numbers[path] for (_, path), name in self.places.items()}
        texts = {name: f"CAST({number} AS VARCHAR)" for name, number in own.items()}
        doubles = {_DOUBLE.format(name): number for name, number in own.items()}
        return _columns(
            {**texts, **{name: doubles.get(sql, sql) for name, sql in self.further.items()}}
        )

    def _taken_out(self) -> Mapping[str, str]:
        """The columns with what is at the paths; all paths into one text are read at once."""
        columns: dict[str, list[Path]] = {}
        for column, path in self.places:
            columns.setdefault(column, []).append(path)
        found = {}
        for (column, path), name in self.places.items():
            wanted = columns[column]
            pointers = ", ".join(map(_pointer, wanted))
            if len(wanted) == 1:
                found[name] = f"CAST(json_extract({column}, {pointers}) AS VARCHAR)"
            else:
                place = wanted.index(path) + 1
                found[name] = f"CAST(json_extract({column}, [{pointers}])[{place}] AS VARCHAR)"
        return found


def _columns(taken: Mapping[str, str]) -> str:
    return "".join(f", {sql} AS {name}" for name, sql in taken.items())


_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_MATCHES = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}
_TESTS = ("contains", "starts_with", "prefix", "suffix", "ends_with", "regexp_matches")
_OF_NUMBERS = ("abs", "round", "floor", "ceil", "least", "greatest", "sign")
_OF_TEXTS = ("lower", "upper", "trim", "left", "right", "substring", "replace", "concat", "||")
AGGREGATES = ("sum", "avg", "count", "count_star")
_EXTREMES = ("min", "max", "median", "any_value", "first", "last")
_DOUBLE = "TRY_CAST({} AS DOUBLE)"
_LENGTHS = ("len", "length", "array_length", "json_array_length")

# A double holds 17 digits. Longer numbers are made marked text before JSON is read, and freed after.
_LONG = "regexp_matches({}, '[0-9.]{{18}}')"
_MARKED = "regexp_replace({}, '(\":|[\\[,])(-?[0-9]+\\.?[0-9]*)', '\\1\"number:\\2\"', 'g')"
EXACT = "DECIMAL(38, 12)"
"""What numbers are added and compared as, where a double isn't exact."""
_WHOLE_NUMBER = "regexp_full_match(CAST({} AS VARCHAR), '-?[0-9]{{1,38}}')"
"""Whether it is a whole number that has more digits than those before the point there."""
WHOLE = "9e15"
"""Below it every whole number is a double."""


@dataclass
class Rewriting:
    """One expression on its way from the parser's tree to SQL."""

    text: str
    names: Names
    long_numbers: bool
    what: str = "condition"
    aggregate: Callable[[str, Sequence[dict[str, Any]]], str] | None = None
    """Takes an aggregate's name and arguments, and gives the column it will be in."""
    others: list[str] = field(default_factory=list)
    lengths: list[Place] = field(default_factory=list)
    places: dict[Place, str] = field(default_factory=dict)
    """The columns that hold what is at a path."""
    values: dict[str, str] = field(default_factory=dict)
    """Further columns, made of those."""

    def finished(self, sql: str) -> Expression:
        """What the rewriting came to."""
        others = " OR ".join(dict.fromkeys(self.others)) or "false"
        further = {name: sql for sql, name in self.values.items()}
        of_others = f"coalesce({others}, false)"
        return Expression(self.text, sql, of_others, self.places, further, tuple(self.lengths))

    def json(self, node: dict[str, Any]) -> str:
        """The node as SQL that is JSON text."""
        kind = self.kind(node)
        place = self._place(node)
        if place is not None:
            return self._number(place) if self.long_numbers else self._json(place)
        if kind is Kind.TEXT:
            return f"CAST(to_json({self.value(node, kind)}) AS VARCHAR)"
        if kind is Kind.TRUTH:
            return f"CAST({self.truth(node)} AS VARCHAR)"
        text = f"CAST({self.value(node, kind)} AS VARCHAR)"
        return (
            f"(CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END)"
        )

    def truth(self, node: dict[str, Any]) -> str:
        """The node as SQL that is true or false."""
        kind = node["type"]
        if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
            word = f" {kind.removeprefix('CONJUNCTION_')} "
            return f"({word.join(map(self.truth, node['children']))})"
        if kind == "OPERATOR_NOT":
            return f"(NOT {self.truth(node['children'][0])})"
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            return self.is_null(node["children"][0], absent=kind == "OPERATOR_IS_NULL")
        if kind in _COMPARISONS:
            return self._compared(node["left"], _COMPARISONS[kind], node["right"])
        if kind == "COMPARE_BETWEEN":
            low = self._compared(node["input"], ">=", node["lower"])
            return f"({low} AND {self._compared(node['input'], '<=', node['upper'])})"
        if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            what, *choices = node["children"]
            found = " OR ".join(self._compared(what, "=", choice) for choice in choices)
            return f"({found})" if kind == "COMPARE_IN" else f"(NOT ({found}))"
        if kind == "FUNCTION" and node["function_name"] in _MATCHES:
            left, right = (self.value(a, Kind.TEXT) for a in _arguments(node))
            return _sure(f"{left} {_MATCHES[node['function_name']]} {right}")
        if kind == "FUNCTION" and node["function_name"] in _TESTS:
            texts = ", ".join(self.value(a, Kind.TEXT) for a in _arguments(node))
            return _sure(f"{node['function_name']}({texts})")
        return _sure(self.value(node, Kind.TRUTH))

    def value(self, node: dict[str, Any], wanted: Kind) -> str:
        """The node as SQL of a kind; NULL where a value of the state is of another."""
        kind = self.kind(node)
        if kind is Kind.VALUE:
            return self._of_value(self._place(node) or ("", ()), wanted)
        if kind is not wanted:
            raise self._refusal(f"has {kind.value} where {wanted.value} is wanted")
        if kind is Kind.TRUTH and node["class"] != "CONSTANT":
            return self.truth(node)
        if node["class"] == "CONSTANT":
            return _literal(node)
        if node["class"] == "COLUMN_REF":
            return f'"{node["column_names"][0].lower()}"'
        name, arguments = node["function_name"], _arguments(node)
        if name in AGGREGATES and self.aggregate is not None:
            if node.get("distinct") or node.get("filter") or _ordered(node):
                raise self._refusal(
                    f"has DISTINCT, FILTER or ORDER in {name}; write count(state.paid > 0) instead"
                )
            return self.aggregate(name, arguments)
        if name in _LENGTHS:
            return self._length(arguments[0])
        parts = [
            self.value(a, self._argument_kind(name, place)) for place, a in enumerate(arguments)
        ]
        if name in ("+", "-", "*", "/", "%", "||"):
            if name in ("*", "/", "%"):
                parts = [f"CAST({part} AS DOUBLE)" for part in parts]
            if name in ("/", "%"):
                # Infinity would be more than everything; nobody knows what it is.
                parts[1] = f"nullif({parts[1]}, 0)"
            return f"({name}{parts[0]})" if len(parts) == 1 else f"({f' {name} '.join(parts)})"
        return f"{name}({', '.join(parts)})"

    def kind(self, node: dict[str, Any]) -> Kind:
        """What a node is; raises `QueryError` for what conditions can't hold."""
        group = node["class"]
        if self._place(node) is not None:
            return Kind.VALUE
        if group == "CONSTANT":
            found = {"INTEGER": Kind.NUMBER, "NUMERIC": Kind.NUMBER, "STRING": Kind.TEXT}
            found["BOOLEAN"] = Kind.TRUTH
            literal = node.get("literal", {}).get("kind")
            if literal in found:
                return found[literal]
            raise self._refusal(
                "holds a constant that is no number, text, true or false; use IS NULL"
            )
        if group == "COLUMN_REF":
            names = [name.lower() for name in node["column_names"]]
            if len(names) == 1 and names[0] in self.names.columns:
                return self.names.columns[names[0]]
            inside = "" if self.aggregate is None else " outside of sum, avg and count"
            raise self._refusal(
                f"names {'.'.join(node['column_names'])}{inside}; there are {self.names}"
                if not inside
                else f"names {'.'.join(node['column_names'])}{inside}"
            )
        if group in ("COMPARISON", "CONJUNCTION", "BETWEEN") or node["type"].startswith(
            ("OPERATOR_NOT", "OPERATOR_IS", "COMPARE_")
        ):
            return Kind.TRUTH
        if group == "FUNCTION":
            return self._function_kind(node["function_name"])
        what = group.lower().replace("_", " ")
        raise self._refusal(
            f"holds {'an' if what[0] in 'aeiou' else 'a'} {what}, which {self.what}s can't"
        )

    def _function_kind(self, name: str) -> Kind:
        if name in (*_MATCHES, *_TESTS):
            return Kind.TRUTH
        if name in ("+", "-", "*", "/", "%", *_OF_NUMBERS, *_LENGTHS):
            return Kind.NUMBER
        if name in AGGREGATES and self.aggregate is not None:
            return Kind.NUMBER
        if name in _OF_TEXTS:
            return Kind.TEXT
        of_all = " of all documents there are sum, avg and count" if name in _EXTREMES else ""
        raise self._refusal(
            f"calls {name}, which {self.what}s can't{';' if of_all else ''}{of_all}"
        )

    @staticmethod
    def _argument_kind(name: str, place: int) -> Kind:
        if name not in _OF_TEXTS:
            return Kind.NUMBER
        counted = name in ("left", "right", "substring") and place > 0
        return Kind.NUMBER if counted else Kind.TEXT

    def _compared(self, left: dict[str, Any], sign: str, right: dict[str, Any]) -> str:
        kinds = {self.kind(left), self.kind(right)}
        known = kinds - {Kind.VALUE}
        if len(known) > 1:
            raise self._refusal(f"compares {' with '.join(sorted(k.value for k in known))}")
        if known:
            kind = known.pop()
            if kind is Kind.NUMBER:
                return self._numbers(left, sign, right)
            return _sure(f"{self.value(left, kind)} {sign} {self.value(right, kind)}")
        first, second = (self._place(node) or ("", ()) for node in (left, right))
        same = " OR ".join(
            _sure(f"{self._taken(first, kind)} {sign} {self._taken(second, kind)}")
            for kind in (Kind.TEXT, Kind.TRUTH)
        )
        return f"({same} OR {self._numbers(left, sign, right)})"

    def _numbers(self, left: dict[str, Any], sign: str, right: dict[str, Any]) -> str:
        """As doubles where these are exact, and in 38 digits where they may not be."""
        sides = [self.digits(left), self.digits(right)]
        exact = [f"TRY_CAST({side} AS {EXACT})" for side in sides]
        rough = [self.double(side) for side in sides]
        double = f"{rough[0]} {sign} {rough[1]}"
        fits = " AND ".join(f"CAST({e} AS DOUBLE) = {r}" for e, r in zip(exact, rough, strict=True))
        careful = f"CASE WHEN {fits} THEN {exact[0]} {sign} {exact[1]}"
        whole = " AND ".join(_WHOLE_NUMBER.format(side) for side in sides)
        long = [f"TRY_CAST({side} AS HUGEINT)" for side in sides]
        careful += f" WHEN {whole} THEN {long[0]} {sign} {long[1]} ELSE {double} END"
        if self.long_numbers:
            return _sure(careful)
        small = " AND ".join(f"abs({r}) < {WHOLE}" for r in rough)
        return _sure(f"CASE WHEN {small} THEN {double} ELSE {careful} END")

    def digits(self, node: dict[str, Any]) -> str:
        """A number as it is written, where it is one of the state; else as it comes."""
        place = self._place(node)
        if place is None:
            return self.value(node, Kind.NUMBER)
        self.others.append(self._other(place, Kind.NUMBER))
        return self._number(place)

    def double(self, number: str) -> str:
        """The column with a number as a double; NULL where it is none."""
        return self._once(_DOUBLE.format(number))

    def _once(self, sql: str) -> str:
        """A column of its own: DuckDB evaluates again what several branches of a CASE share."""
        if self.aggregate is not None:
            return sql  # aggregates come in a row each; there is nothing to save
        return self.values.setdefault(sql, f"n{len(self.values)}")

    def _of_value(self, place: Place, wanted: Kind) -> str:
        self.others.append(self._other(place, wanted))
        if wanted is Kind.NUMBER:
            return self._once(f"TRY_CAST({self._number(place)} AS {EXACT})")
        return self._taken(place, wanted)

    def _json(self, place: Place) -> str:
        """The column with the JSON text of what is at a path; NULL where there is nothing."""
        return self.places.setdefault(place, f"v{len(self.places)}")

    def _number(self, place: Place) -> str:
        """What is at a path, a number with all its digits; other things are no numbers in SQL."""
        if not self.long_numbers:
            return self._json(place)
        column, path = place
        json = self._json(place)
        marked = _MARKED.format(column)
        # What looks like a number's place inside a text makes it no JSON any more.
        found = f"coalesce(try(json_extract_string({marked}, {_pointer(path)})), {json})"
        freed = f"replace({found}, 'number:', '')"
        long = _LONG.format(column)
        plain = f"CASE WHEN {long} AND NOT starts_with({json}, '\"') THEN {freed} ELSE {json} END"
        return self._once(plain)

    def _taken(self, place: Place, kind: Kind) -> str:
        """The text or the truth at a path; NULL where there is none."""
        json = self._json(place)
        if kind is Kind.TRUTH:
            return f"(CASE {json} WHEN 'true' THEN true WHEN 'false' THEN false END)"
        # By itself the text is JSON, which takes escapes out of it.
        return f"(CASE WHEN starts_with({json}, '\"') THEN json_extract_string({json}, '$') END)"

    def _other(self, place: Place, wanted: Kind) -> str:
        """Whether there is something at a path, and of another kind."""
        json = self._json(place)
        what = {
            Kind.NUMBER: f"{self.double(json)} IS NULL",
            Kind.TEXT: f"NOT starts_with({json}, '\"')",
            Kind.TRUTH: f"{json} NOT IN ('true', 'false')",
        }[wanted]
        return f"({json} <> 'null' AND {what})"

    def is_null(self, node: dict[str, Any], *, absent: bool) -> str:
        place = self._place(node)
        if place is None:
            raise self._refusal("asks IS NULL of what is no value of the state")
        there = _sure(f"{self._json(place)} <> 'null'")
        return f"(NOT {there})" if absent else there

    def _length(self, node: dict[str, Any]) -> str:
        place = self._place(node)
        if place is None:
            return f"length({self.value(node, Kind.TEXT)})"
        self.lengths.append(place)
        json = self._json(place)
        return (
            f"(CASE left({json}, 1) WHEN '[' THEN json_array_length({json}) WHEN '{{' THEN"
            f" len(json_keys({json})) WHEN '\"' THEN length({self._taken(place, Kind.TEXT)}) END)"
        )

    def _place(self, node: dict[str, Any]) -> Place | None:
        return place_of(node, self.names)

    def _refusal(self, what: str) -> QueryError:
        return QueryError(f"The {self.what} {self.text!r} {what}.")


def _pointer(path: Path) -> str:
    return quoted(paths.pointer(path))


def _arguments(node: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [argument["expression"] for argument in node["arguments"]]


def _ordered(node: dict[str, Any]) -> bool:
    return bool((node.get("order_bys") or {}).get("orders"))


def _literal(node: dict[str, Any]) -> str:
    literal = node["literal"]
    return quoted(literal["text"]) if literal["kind"] == "STRING" else str(literal["text"])


def _sure(sql: str) -> str:
    return f"coalesce({sql}, false)"
