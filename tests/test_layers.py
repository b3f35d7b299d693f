"""Imports run one way: between the parts of kept, and between the packages inside each part."""

import ast

import pytest

import kept
from tests.source_tree import circles, graph, imported, modules, rooms

BASE = {
    "actor",
    "errors",
    "digest",
    "fork_safe_lock",
    "messages",
    "names",
    "parallel",
    "progress",
    "units",
}
BASE |= {"workspace"}
# What each part may import, besides itself and `from kept import <public name>`.
PARTS = {
    **dict.fromkeys(BASE, BASE),
    "bucket": BASE,
    "charts": BASE,
    "store": BASE | {"bucket", "charts"},
    "sync": BASE | {"bucket", "store"},
    "training": BASE | {"bucket", "store", "sync", "charts"},
    "watch": BASE | {"bucket", "store", "sync"},
    "exchange": BASE | {"bucket", "store", "sync", "training"},
    "web": BASE | {"bucket", "charts", "store", "sync", "watch"},
    "cli": BASE | {"bucket", "charts", "store", "sync", "watch", "exchange", "web"},
    "keras": {"training"},
    "tf_keras": {"training"},
    "__main__": {"cli"},
}
# The packages and modules of each part, bottom first: each may import only what is listed before
# it, or beside it in the same row if no circle results.
ROWS = {
    "bucket": [
        {"location", "transfer"},
        {"base"},
        {"file_io", "memory", "object_storage", "reserve"},
        {"reach"},
        {"local_read", "temporary"},
        {"local"},
        {"open"},
    ],
    "store": [
        {"encoding", "problems"},
        {"metadata", "format_marker", "receipts", "log"},
        {"health"},
        {"rank", "condition", "origin"},
        {"blobs"},
        {"content"},
        {"tensors"},
        {"diff"},
        {"promotion"},
        {"retention", "compact", "commit", "signing", "scrub"},
        {"gc", "repair"},
        {"describe", "search", "whole", "display"},
        {"loading", "maintenance"},
        {"store", "management", "version", "artifact"},
        {"open"},
        {"orbax"},
    ],
    "charts": [
        {"look", "rows"},
        {"parts"},
        {"heat_map", "markup", "metrics", "render", "sparkline", "storage"},
        {"terminal"},
    ],
    "exchange": [{"exporting", "importing"}],
    "web": [
        {"filters", "query"},
        {"links", "verbs"},
        {"page"},
        {"reading"},
        {"facts", "vega"},
        {"pages"},
        {"answer", "security"},
        {"actions", "export", "live"},
        {"app"},
        {"serve"},
    ],
    "sync": [{"courier", "outbox"}, {"live", "mirror", "wandb"}],
    "training": [
        {"group", "snapshot", "monitor", "naming", "options"},
        {"shared"},
        {"keras_api"},
        {"data"},
        {"resume"},
        {"request"},
        {"destinations", "health"},
        {"save"},
        {"upkeep"},
        {"decide"},
        {"follow"},
        {"callbacks"},
        {"verify_resume"},
    ],
}
TREES = modules()
ARROWS = graph(TREES)


def test_imports_in_functions_and_for_type_checkers_count():
    code = """
if TYPE_CHECKING:
    import a
def f():
    class C:
        from c.d import e, f as g
try:
    import h.i
except ImportError:
    with x: import j as k
"""
    found = {(module, name) for module, name in imported(ast.parse(code))}
    assert found == {("a", None), ("c.d", "e"), ("c.d", "f"), ("h.i", None), ("j", None)}


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    assert circles({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize("name", sorted(set(ARROWS) - {"kept"}))
def test_between_the_parts(name):
    part = name.split(".")[1]
    assert part in PARTS, f"add {part} to PARTS"
    for target in ARROWS[name]:
        assert target.split(".")[1] in PARTS[part] | {part}, f"{name} imports {target}"


@pytest.mark.parametrize("part", sorted(ROWS))
def test_between_the_packages_of_a_part(part):
    row_of = {room: number for number, row in enumerate(ROWS[part]) for room in row}
    for room, targets in rooms(ARROWS, f"kept.{part}").items():
        for target in targets:
            assert row_of[target] <= row_of[room], f"kept/{part}/{room} imports {target}"


@pytest.mark.parametrize("part", sorted(ROWS))
def test_each_row_names_what_exists(part):
    existing = {name.split(".")[2] for name in ARROWS if name.startswith(f"kept.{part}.")}
    assert set().union(*ROWS[part]) == existing


def test_the_only_circle_is_the_store_with_its_artifacts_and_versions():
    family = {"artifact", "management", "store", "version"}
    assert circles(ARROWS) == [{f"kept.store.{name}" for name in family}]
    for part in ROWS:
        expected = [family] if part == "store" else []
        assert circles(rooms(ARROWS, f"kept.{part}")) == expected


def test_public_names_are_imported_by_name_only():
    for name, tree in TREES.items():
        for module, what in imported(tree):
            if module == "kept" and what is not None and name != "kept":
                assert what in dir(kept) or f"kept.{what}" in TREES, f"{name} imports kept.{what}"
