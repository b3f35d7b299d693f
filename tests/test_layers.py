"""Imports run one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kept

SOURCE = Path(kept.__file__).parent
BASE = {"errors", "digest", "messages", "names", "parallel", "progress", "units"}
# What each part of the package may import, beside itself and `from kept import <public name>`.
ALLOWED = {
    **dict.fromkeys(BASE, BASE),
    "bucket": BASE,
    "store": BASE | {"bucket"},
    "sync": BASE | {"bucket", "store"},
    "training": BASE | {"bucket", "store", "sync"},
    "cli": BASE | {"bucket", "store", "sync"},
    "web": BASE | {"bucket", "store", "sync"},
    "keras": {"training"},
    "tf_keras": {"training"},
    "__main__": {"cli"},
    "__init__": set(),  # it imports a module when one of its names is used
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports, also inside functions, but not for type checkers only."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        for other in tree.orelse:
            yield from imports(other)
    elif isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, "relative import"
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    else:
        for node in ast.iter_child_nodes(tree):
            yield from imports(node)


def test_the_reader_of_imports_reads_all_of_them():
    code = """
if TYPE_CHECKING:
    import a
else:
    import b
def f():
    class C:
        from c.d import e, f as g
try:
    import h.i
except ImportError:
    with x: import j as k
"""
    assert sorted(imports(ast.parse(code))) == ["b", "c.d.e", "c.d.f", "h.i", "j"]


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_imports_run_one_way(path):
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert part in ALLOWED, f"say in ALLOWED what {part} may import"
    for name in imports(ast.parse(path.read_text())):
        if name.startswith("kept."):
            wanted = name.split(".")[1]
            assert wanted in ALLOWED[part] | {part} or wanted in kept.__all__, (
                f"{part} imports {name}"
            )
