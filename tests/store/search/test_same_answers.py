"""SQLite and Python give the same answer to every query, in the same order."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kept.store.log.history import VersionRecord
from kept.store.search import database
from kept.store.search.database import Database
from kept.store.search.query import ordered, query_of
from kept.store.search.rows import Read, Row

NAMES = ("a", "b.c", "acc@d-1", "size", "it's", "created", "n\0l", "\ud800'\"\\")
TEXTS = ("x", "xy", "X", "", "0.5", "3", "true", "nan", 'say "x"', "a[x]", "é", "x\0y", "\\", "7d",
         "2026-11-30T00:00:00.000000Z", '"', "*", "x\\\"")  # fmt: skip
NUMBERS = (0, -1, 3, 2**53 + 1, 2**63, -(2**63), 2**70, 0.5, -0.0, 1e300, 3.0, math.inf, -math.inf)
scalars = st.sampled_from((*TEXTS, *NUMBERS, True, False))
values = st.dictionaries(
    st.sampled_from(NAMES), scalars | st.lists(scalars, max_size=3).map(tuple), max_size=6
)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


names = st.sampled_from((*NAMES, "missing", "new")).map(quoted)
words = st.sampled_from(["0.5", "3", "-1", "x", "true", "nan", "inf", "1GB", "7d", "1e300", "v3"])
literals = words | st.sampled_from(TEXTS).map(quoted)
globs = st.sampled_from(["*", "x*", "?", "*x*", "a[x]", "*[*", '"*\\""', "'x?y'"])
orders = st.tuples(
    st.sampled_from(["<", "<=", ">", ">="]),
    st.sampled_from(["0.5", "3", "-inf", "9007199254740993", "1GB", '"x"', '""', '"3"']),
).map(" ".join)
comparisons = st.one_of(
    st.builds("{} = {}".format, names, literals),
    st.builds("{} != {}".format, names, literals),
    st.builds("{} {}".format, names, orders),
    st.builds("{} ~ {}".format, names, globs),
    st.builds("{} !~ {}".format, names, globs),
    st.builds("{} in ({}, {})".format, names, literals, literals),
    st.builds("{} not in ({}, {})".format, names, literals, literals),
    names,
).filter(lambda text: '"created"' not in text or "~" in text or text == '"created"')
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)
sorts = st.lists(st.builds("{}{}".format, st.sampled_from(["", "-"]), st.sampled_from(NAMES)),
                 max_size=2)  # fmt: skip


shares = [
    {},
    {"a": "x", "b.c": 3, "new": "y"},
    {"a": ("x", 3), "it's": 0.5, "size": True, "n\0l": 3},
]


def row(index, found, shared=None):
    own = {"artifact": "m", "version": index, "created": "2026"} | found
    record = VersionRecord(index, "model", "0" * 64, "0" * 64, 1, (), {}, "", deleted=False)
    return Row("m", record, own, shared or {})


@pytest.mark.parametrize("columns", [500, 2])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(values, st.sampled_from(shares)), max_size=6),
    conditions | st.none(),
    sorts,
    st.none() | st.just(2),
)
def test_same_answers(monkeypatch, columns, every, where, sort, limit):
    monkeypatch.setattr(database, "_COLUMNS", columns)
    rows = [row(index, *found) for index, found in enumerate(every)]
    query = query_of(where, sort, limit, None)
    expected = ordered([each for each in rows if query.holds(each.values)], query)
    with Database(":memory:") as index:
        assert index.replace([Read("m", rows)], {}) == []
        found = index.select(query, ["version"])
    assert [number for (number,) in found] == [each.record.index for each in expected]


@pytest.mark.parametrize("columns", [500, 0])
def test_names_that_sqlite_cannot_hold(monkeypatch, columns):
    monkeypatch.setattr(database, "_COLUMNS", columns)
    odd = ("n\0l", "\ud800", "\\u0000", '"', "'")
    rows = [row(index, {name: index}) for index, name in enumerate(odd)]
    rows += [row(len(odd), {"x": 1}, dict.fromkeys(odd, "s"))]
    with Database(":memory:") as index:
        index.replace([Read("m", rows)], {})
        assert {*odd} < {*index.names()}
        for number, name in enumerate(odd):
            query = query_of(f"{quoted(name)} >= 0", None, None, None)
            assert index.select(query, ["version", name]) == [(number, number)]
            query = query_of(f"{quoted(name)} ~ s", None, None, None)
            assert index.select(query, ["version", name]) == [(len(odd), "s")]


def test_a_long_glob():
    rows = [row(0, {"a": "x" * 20_000}), row(1, {"a": "[" * 19_000})]
    with Database(":memory:") as index:
        index.replace([Read("m", rows)], {})
        query = query_of(f"a ~ {'[' * 18_999}?", None, None, None)
        assert index.select(query, ["version"]) == [(1,)]


def test_each_kind_of_value_with_each_literal():
    every = [*TEXTS, *NUMBERS, True, False]
    lists = [(), *((value, 1) for value in every), ('x"x', "x"), ("a", "b"), (True, "é")]
    rows = [row(index, {"a": found}) for index, found in enumerate([*every, *lists])]
    rows.append(row(len(rows), {}))
    written = ["0.5", "3", "inf", "nan", "true", "FALSE", "x", "1GB", *map(quoted, TEXTS)]
    texts = [f"a {symbol} {word}" for symbol in ("=", "!=", "~", "!~") for word in written]
    texts += [f"a {symbol} {word}" for symbol in ("<", ">=") for word in ["0.5", "3", '"x"', '"3"']]
    texts += [f"a {symbol} ({', '.join(written)})" for symbol in ("in", "not in")]
    texts += [f"a ~ {glob}" for glob in ("*", "?", "x?", "*[*", "'*\"*'", "'\"x?'", "'?'")] + ["a"]
    with Database(":memory:") as index:
        index.replace([Read("m", rows)], {})
        for text in texts:
            query = query_of(text, "version", None, None)
            found = [number for (number,) in index.select(query, ["version"])]
            assert found == [r.record.index for r in rows if query.holds(r.values)], text
