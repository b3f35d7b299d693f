"""Tables on a terminal: which columns are shown, how wide they are, and what is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.cli.layout import Column, cells, cut, table_lines, wrapped


def lines(columns, rows, width):
    return list(table_lines(columns, rows, width))


def test_a_table_that_fits_is_whole():
    table = lines([Column("name"), Column("size", right=True)], [["a", "1"], ["bcd", "20"]], 40)
    assert table == ["name  size", "──────────", "a        1", "bcd     20"]


def test_columns_with_long_texts_share_the_room():
    columns = [Column("name"), Column("size", right=True), Column("aliases")]
    rows = [["n" * 30, "1.5 MB", "a, " * 10 + "z"], ["m", "2 B", ""]]
    titles, rule, first, second = lines(columns, rows, 40)
    assert len(rule) == len(first) == 40
    assert titles == "name               size  aliases"
    assert first == "nnnnnnn…nnnnnnn  1.5 MB  a, a, a, a, a,…"
    assert second == "m                   2 B"


def test_what_does_not_fit_is_left_out_and_marked():
    columns = [Column("version"), Column("size"), Column("digest", extra=True), Column("created")]
    rows = [["v0", "1.0 kB", "0123456789", "2026-01-01 10:00"]]
    assert lines(columns, rows, 80)[0] == "version  size    digest      created"
    assert lines(columns, rows, 40)[0] == "version  size    created           …"
    assert lines(columns, rows, 20)[0] == "version  size    …"
    assert lines(columns, rows, 4)[0] == "versi…  …"


def test_a_title_is_cut_before_a_column_is_left_out():
    columns = [Column("version"), Column("val_sparse_categorical_accuracy", right=True)]
    assert lines(columns, [["v0", "0.5"]], 24)[0] == "version  val_spa…ccuracy"
    assert lines(columns, [["v0", "0.5"]], 18)[0] == "version  val_spar…"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 5, "short"), ("run_1234_model", 9, "run_…odel"),
        ("a longer text", 9, "a longer…"), ("漢字漢字漢字", 7, "漢字…字"), ("a, b, c", 4, "a,…"),
    ],
)  # fmt: skip
def test_names_lose_their_middle_and_texts_their_end(text, width, expected):
    assert cut(text, width) == expected


def test_prose_continues_on_the_next_line():
    columns = [Column("version"), Column("why", wraps=True)]
    rows = [["v0", "the newest version, and one that a mirror has not confirmed"], ["v1", ""]]
    assert lines(columns, rows, 40) == [
        "version  why",
        "─" * 40,
        "v0       the newest version, and one",
        "         that a mirror has not confirmed",
        "v1",
    ]
    assert wrapped("ab " + "x" * 7 + " c", 3) == ["ab", "xxx", "xxx", "x c"]


TEXT = st.text(st.characters(exclude_categories=["C", "M", "Z"]) | st.just(" "), max_size=60)
TABLES = st.integers(1, 5).flatmap(
    lambda count: st.tuples(
        st.lists(
            st.builds(Column, TEXT, st.booleans(), st.booleans(), st.booleans()),
            min_size=count,
            max_size=count,
        ),
        st.lists(st.lists(TEXT, min_size=count, max_size=count), max_size=4),
    )
)


@given(TABLES, st.integers(40, 200))
def test_no_line_is_longer_than_the_terminal(table, width):
    columns, rows = table
    assert max(map(cells, table_lines(columns, rows, width))) <= width


@given(TABLES)
def test_a_wide_terminal_shows_everything(table):
    columns, rows = table
    shown = lines([column._replace(wraps=False) for column in columns], rows, 1000)
    assert len(shown) == 2 + len(rows)
    for line, row in zip(shown[2:], rows, strict=True):
        assert "".join(line.split()) == "".join("".join(row).split())
