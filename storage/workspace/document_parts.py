"""Large documents in parts: the meaning of the table `parts`, and the SQL that assembles documents.

A row is the new state of one part after a change. Its `part` is a JSON pointer (RFC 6901); its `place`
gives the order, one number for each step of the pointer, and is NULL if the order didn't change. A
`state` of `{}` is an object whose members, if any, are separate parts; NULL means that the part was
deleted. A document at a position consists of the last state of each part that isn't NULL, in the order
of the last places.

The SQL is written exactly as DuckDB prints it, because validation compares the texts of macros.
"""


def live_parts_sql(rows: str) -> str:
    """Return SQL for the parts of documents at a position: `bucket`, `key`, `part`, `place`, `state`.

    `rows` is a condition over `parts AS h` that selects the documents, and rows up to the position.
    """
    return (
        'SELECT l.bucket, l."key", p.part, l.place, p.state FROM ((SELECT h.bucket, h."key",'
        " arg_max(h.rowid, h.change) AS newest, arg_max(h.place, h.change) AS place"
        f' FROM parts AS h WHERE {rows} GROUP BY h.bucket, h."key", h.part) AS l'
        " INNER JOIN parts AS p ON ((p.rowid = l.newest))) WHERE (p.state IS NOT NULL)"
    )


def documents_sql(rows: str) -> str:
    """Return SQL for whole documents at a position: `bucket`, `key`, `state`.

    `rows` is as in `live_parts_sql`. The text of each part begins with the braces that close the objects
    before it and open its own.
    """
    return (
        f"SELECT t.bucket, t.\"key\", (string_agg(({_PART_TEXT}), '' ORDER BY t.place)"
        " || repeat('}', arg_max((t.depth + CAST(t.opens AS INTEGER)), t.place))) AS state"
        ' FROM (SELECT a.bucket, a."key", a.part, a.place, a.state, len(a.place) AS depth,'
        f" {_OPENS_OBJECT} AS opens, lag((len(a.place) + CAST({_OPENS_OBJECT} AS INTEGER))) OVER {_BY_PLACE}"
        f" AS opened, lag({_OPENS_OBJECT}) OVER {_BY_PLACE} AS inside FROM ({live_parts_sql(rows)}) AS a) AS t"
        ' GROUP BY t.bucket, t."key"'
    )


def part_changes_sql(rows: str) -> str:
    """Return SQL for the changes of a document in parts: `change`, `before`, `after`.

    `before` and `after` are JSON objects with the changed parts by their JSON pointers. `rows` is as in
    `live_parts_sql`.
    """
    return (
        f'SELECT c.change, {_json_object_sql("before")} AS "before",'
        f' {_json_object_sql("after")} AS "after" FROM'
        " (SELECT h.change, h.part, lag(h.state) OVER (PARTITION BY h.part ORDER BY h.change)"
        f' AS "before", h.state AS "after" FROM parts AS h WHERE {rows}) AS c GROUP BY c.change'
    )


def _json_object_sql(column: str) -> str:
    members = f"string_agg(((to_json(c.part) || ':') || c.\"{column}\"), ',' ORDER BY c.part)"
    return f"concat('{{', {members}, '}}')"


_OPENS_OBJECT = "(a.state = '{}')"
_BY_PLACE = '(PARTITION BY a.bucket, a."key" ORDER BY a.place)'
_MEMBER_NAME = (
    "to_json(\"replace\"(\"replace\"(split_part(t.part, '/', -1), '~1', '/'), '~0', '~'))"
)
_PART_TEXT = (
    "CASE  WHEN ((t.depth = 0)) THEN ('') ELSE concat(repeat('}', (t.opened - t.depth)),"
    " CASE  WHEN ((t.inside AND (t.opened = t.depth))) THEN ('') ELSE ',' END,"
    f" {_MEMBER_NAME}, ':') END || CASE  WHEN (t.opens) THEN ('{{') ELSE t.state END"
)
