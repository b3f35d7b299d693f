import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.errors import InvalidName, InvalidPath, InvalidReference
from kept.names import (
    Reference,
    check_alias,
    check_aliases,
    check_name,
    check_path,
    check_paths,
    parse_reference,
    version_index,
)

LETTERS = "ABCXYZabcxyz0189._-"
names = st.text(LETTERS, min_size=1, max_size=128).filter(lambda text: text.strip("."))


@given(names)
def test_names_that_are_allowed(name):
    assert check_name(name) == name


BAD_NAMES = [
    "", ".", "..", "...", "a" * 129, "a/b", "a:b", "a@b", "a b", "ä", "a\n", "\x00", None, 3, b"a"
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_refused(name):
    with pytest.raises(InvalidName, match="Received: ") as caught:
        check_name(name)
    assert repr(name) in str(caught.value)


GOOD_ALIASES = ["best", "epoch_3", "v", "v1.0", "V1", "v-1", "Latest", "1", "a" * 128]
BAD_ALIASES = ["latest", "v0", "v12", "", "a:b", "a b", "a" * 129, "v1\n", None, 1]


@pytest.mark.parametrize("alias", GOOD_ALIASES)
def test_aliases_that_are_allowed(alias):
    assert check_alias(alias) == alias


@pytest.mark.parametrize("alias", BAD_ALIASES)
def test_aliases_that_are_refused(alias):
    with pytest.raises(InvalidName, match="Received: "):
        check_alias(alias)


def test_lists_of_aliases():
    assert check_aliases(["b", "a", "b"]) == ("b", "a")
    assert check_aliases(alias for alias in ()) == ()
    with pytest.raises(InvalidName, match="not one text"):
        check_aliases("best")
    with pytest.raises(InvalidName):
        check_aliases(["best", "v3"])
    with pytest.raises(InvalidName, match=r"always names the newest version\. Leave it out"):
        check_aliases(["best", "latest"])


@given(names, st.integers(0, 10**30), names, st.text("0123456789abcdef", min_size=8, max_size=64))
def test_references_mean_what_they_say(name, index, alias, digest):
    assert parse_reference(name) == parse_reference(f"{name}:latest") == Reference(name)
    assert parse_reference(f"{name}:v{index}") == Reference(name, index=index)
    assert parse_reference(f"{name}@{digest}") == Reference(name, digest=digest)
    if alias != "latest" and version_index(alias) is None:
        assert parse_reference(f"{name}:{alias}") == Reference(name, alias=alias)


@pytest.mark.parametrize(
    "text",
    ["", ":", "@", "a:", ":best", "a:b:c", "a@", "a@1234567", "a@" + "f" * 65, "a@ABCDEF01",
     "a@12345678:b", "a:b@12345678", "a b", "a/b:v1", "a:v1\n", "a:é", None, 7],
)  # fmt: skip
def test_references_that_are_refused(text):
    with pytest.raises(InvalidReference, match="Received: ") as caught:
        parse_reference(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["v00", "v01", "v", "V1", "v1 ", "v-1", "v1.0", "1", "v٣"])
def test_what_is_no_version_number(text):
    assert version_index(text) is None


@pytest.mark.parametrize(
    "path",
    ["f", "a/b/c.keras", ".hidden", "a..b", "...a", "with space", "ümlaut/日本", "console", "a.con",
     "x" * 255, "/".join(["y" * 200] * 5), "\u00a0", "a\u3000b", "\U000f0000", "[a]{b}'(c)!"],
)  # fmt: skip
def test_paths_that_are_allowed(path):
    assert check_path(path) == path


BAD_PATHS = [
    "", "/", "/etc/passwd", "..", ".", "a/../b", "../a", "a/./b", "a//b", "a/", "a\x00b", "a\nb",
    "a\\b", "C:/x", "C:x", "a:stream", "con", "NUL.txt", "a/Com1.log/b", "lpt9", "a.", "a ",
    "a./b", "\ud800", "é" * 128, "x" * 256, "/".join(["y" * 205] * 5), None, b"f",
]  # fmt: skip


# DEL, C1, soft hyphen, joiner, bidi, line and paragraph separators, a tag; and for Windows.
ONLY_STORED = [
    *(f"d/a{c}b" for c in "\x7f\x80\x85\x9b\xad\u200d\u200f\u202e\u2066\u2028\u2029\ufeff"),
    "a\U000e0041",
    *(f"a{c}b" for c in '<>"|?*'),
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_are_refused(path):
    with pytest.raises(InvalidPath, match="Received: "):
        check_path(path)
    for stored in (False, True):
        with pytest.raises(InvalidPath, match="Received: "):
            check_paths([path], stored=stored)


@pytest.mark.parametrize("path", ONLY_STORED)
def test_paths_that_only_stored_versions_may_have(path):
    with pytest.raises(InvalidPath, match=r"(invisible|Windows reserves).*Received: "):
        check_path(path)
    with pytest.raises(InvalidPath, match="Received: "):
        check_paths(["a", path])
    check_paths(["a", path], stored=True)


@given(st.text(min_size=1, max_size=5))
def test_a_new_path_shows_what_it_is(path):
    """Whatever is allowed has no character that a reader cannot see or a terminal obeys."""
    try:
        check_path(path)
    except InvalidPath:
        return
    assert not {unicodedata.category(c) for c in path} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text())
def test_no_path_leads_out_of_its_folder(path):
    try:
        check_path(path)
    except InvalidPath:
        return
    assert not {"", ".", ".."} & set(path.split("/"))
    assert not set("\\:\x00") & set(path)


@pytest.mark.parametrize(
    "paths",
    [["a", "A"], ["d/x", "D/y"], ["straße", "STRASSE"], ["a", "a"], ["a", "a/b"], ["a/b", "A"],
     ["a/b/c", "a/b"], ["x/y", "X"]],
)  # fmt: skip
@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("stored", [False, True])
def test_paths_that_collide(paths, turn, stored):
    with pytest.raises(InvalidPath, match="Received: "):
        check_paths(["other", *paths[::turn], "z"], stored=stored)


def test_paths_that_do_not_collide():
    check_paths(["a", "ab", "a.b", "d/a", "d/b", "d/e/a", "d-e"])


def test_paths_that_differ_only_in_composition_collide():
    with pytest.raises(InvalidPath, match="composed"):
        check_paths(["caf\u00e9.txt", "cafe\u0301.txt"])
