"""Conditions: what they mean, and what the message says of one that cannot be parsed."""

import time
from datetime import UTC, datetime

import pytest

from kept.errors import InvalidCondition
from kept.store.condition.parse import parse

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
VALUES = {
    "framework": "jax", "test_acc": 0.93, "test_acc@cifar10-test": 0.91, "epoch": 3,
    "loss": "nan", "best_loss": float("-inf"), "is_final": True, "seed": "0123", "branch": "2",
    "created": "2026-11-28T12:00:00.000000Z", "size": 2_000_000_000, "version": 7,
    "tags": ("good", "paper 1"), "aliases": (), "layers": (16, 32), "save_seconds": 90.0,
    "git.branch": "main", "note": 'say "x"',
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "framework = jax",
        "framework == 'jax' and test_acc > 0.9",
        "FRAMEWORK = x or framework = jax AND NOT test_acc < 0.5",
        "test_acc@cifar10-test >= 91e-2",
        '"test_acc@cifar10-test" <= .91',
        "not (framework = torch or epoch != 3)",
        "framework in (torch, jax)",
        "framework not in (torch, tensorflow)",
        "framework ~ j* and git.branch ~ m?in and framework !~ t*",
        "loss = nan and loss != 0.5",
        "best_loss = -inf and best_loss < -1e9",
        "is_final = true and is_final != false",
        "seed = 0123 and branch = 2 and branch != 3",
        "created > 7d and created < '1d ago' and created >= 2026-11-01",
        "created > 2026-11-28T11:59:59Z and created < '2026-11-28 13:00+00:00'",
        "size > 1GB and size < 2GiB and size = 2GB",
        "save_seconds > 1min",
        "version = v7",
        "tags = good and tags = 'paper 1' and tags != bad and tags ~ paper*",
        "aliases != prod",
        "layers = 16 and layers > 20 and layers in (32, 99)",
        "metadata.epoch = 3 and metrics.test_acc = 0.93",
        r'note = "say \"x\""',
        "tags",
        "test_acc and not test_loss",
        "framework > 'jaw'",
    ],
)
def test_holds(text):
    assert parse(text, NOW).holds(VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "framework = torch",
        "missing = 1", "missing != 1", "missing not in (1, 2)", "missing !~ a*", "missing",
        "aliases",
        "framework > 3",  # a text is neither more nor less than a number
        "loss < 0.5",
        "epoch = '3'",  # in quotes it is a text
        "is_final = 1", "is_final > 0",
        "seed = 123",  # a text is equal as it is written
        "tags = paper", "tags != good", "tags not in (x, good)",
        "framework ~ a",  # a glob matches the whole text
        "framework ~ 'j[a]x'",  # only * and ? are special
        "created > 1d",
        "epoch ~ 3",
        "framework = jax and (epoch = 1 or epoch = 2)",
    ],
)  # fmt: skip
def test_does_not_hold(text):
    assert not parse(text, NOW).holds(VALUES)


@pytest.mark.parametrize(
    ("text", "hint", "marks"),
    [
        ("test_acc > and x", "'and' in quotes", "^^^"),
        ("a = 1 && b = 2", "expected and", "^^"),
        ("a = 1 || b = 2", "expected or", "^^"),
        ("a => 3", "expected >=", "^^"),
        ("a <=> 3", "an operator", "^^^"),
        ("a =", "a name or a value", "^"),
        ("(a = 1", "expected )", "^"),
        ("a = 1)", "the end", "^"),
        ("a like b", "~ with *", "^^^^"),
        ("a 0.9", "an operator", "^^^"),
        ("0.9 < a", "name first", "^^^"),
        ("a > b", "a number after >", "^"),
        ('a > "b', "closing quote", "^"),
        ("created = 7d", "a moment", "^^"),
        ("created > soon", "a moment", "^^^^"),
        ("created in (1d)", "a moment", "^^"),
        ("a in (1,", "a name or a value", "^"),
        ("a in 1", "expected (", "^"),
    ],
)
def test_a_message_marks_the_place(text, hint, marks):
    with pytest.raises(InvalidCondition) as error:
        parse(text)
    message, shown, mark = str(error.value).split("\n")
    assert hint in message
    assert shown == f"  {text}"
    assert mark.strip() == marks
    place = mark.index("^") - 2
    assert place == len(text) or text[place : place + len(marks)].strip()


@pytest.mark.parametrize("text", ["", "  ", None, 3, "a" * 30_000, "a or " * 500 + "a"])
def test_no_condition(text):
    with pytest.raises(InvalidCondition):
        parse(text)


@pytest.mark.parametrize("word", ["3000y", "200000d", "'7 years'", "1mo"])
def test_a_span_that_is_too_long_or_has_another_unit(word):
    with pytest.raises(InvalidCondition, match=r"s, min, h, d or w.*less than 300 years"):
        parse(f"created > {word}", NOW)


@pytest.mark.parametrize(
    ("glob", "fits"),
    [("*a*a*a*a*b", False), ("*a*a*a*a", True), ("*?*?*?*b", False), ("*[a*", False)],
)
def test_a_glob_takes_little_time(glob, fits):
    condition = parse(f"note ~ '{glob}'")
    begun = time.thread_time()
    assert condition.holds({"note": "a" * 10_000}) == fits
    assert time.thread_time() - begun < 5  # backtracking takes hours


def test_deep_conditions_are_refused():
    with pytest.raises(InvalidCondition, match="inside each other"):
        parse("not (a or " * 60 + "b" + ")" * 60)


def test_a_long_condition_is_cut_around_the_place():
    text = "abc = 1 or " * 30 + "x &! 1" + " or abc = 1" * 30
    with pytest.raises(InvalidCondition) as error:
        parse(text)
    _, shown, mark = str(error.value).split("\n")
    assert (shown[:3], shown[-1]) == ("  …", "…")
    assert len(shown) < 130
    assert shown[mark.index("^") :].startswith("&!")


def test_names_and_what_was_found():
    condition = parse("a = 1 or (b > 2 and not a = 3) or tags", NOW)
    assert condition.names == ("a", "b", "tags")
    assert condition.found({"b": 1.5, "tags": ()}) == {"a": None, "b": 1.5, "tags": ()}
    assert str(condition) == condition.text == "a = 1 or (b > 2 and not a = 3) or tags"
