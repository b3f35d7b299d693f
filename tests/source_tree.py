"""The source as data: modules, what they import, and the figures of its shape.

`python -m tests.source_tree` prints the figures; tests/test_layers.py and tests/test_shape.py check
them. Imports inside functions and for type checkers count as all others do.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parent.parent / "src" / "kept"


def modules() -> dict[str, ast.Module]:
    """Return every module of kept by its dotted name; a package by the package's name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


def imported(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Yield (module, name) of each import, the name None for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ((str(node.module), alias.name) for alias in node.names)


def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Map each module to the modules of kept that it imports.

    `from kept import name` imports a public name and makes no arrow.
    """
    arrows: dict[str, set[str]] = {}
    for name, tree in trees.items():
        targets = set()
        for module, what in imported(tree):
            inner = f"{module}.{what}"
            target = inner if inner in trees else module
            if target in trees and target not in ("kept", name):
                targets.add(target)
        arrows[name] = targets
    return arrows


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of nodes that reach each other."""
    reach = {node: _reachable(node, arrows) for node in arrows}
    groups = {
        frozenset({a, *(b for b in reach[a] if a in reach.get(b, ()))})
        for a in arrows
        if a in reach[a]
    }
    return [set(group) for group in sorted(groups, key=sorted)]


def _reachable(start: str, arrows: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    open_ = [start]
    while open_:
        new = arrows.get(open_.pop(), set()) - found
        found |= new
        open_ += new
    return found


def rooms(arrows: dict[str, set[str]], package: str) -> dict[str, set[str]]:
    """Return the arrows between the direct children of a package, such as kept.training."""
    children: dict[str, set[str]] = defaultdict(set)
    prefix = f"{package}."
    for source, targets in arrows.items():
        for target in targets:
            if source.startswith(prefix) and target.startswith(prefix):
                a, b = (one[len(prefix) :].split(".")[0] for one in (source, target))
                children[a] |= {b} - {a}
    return dict(children)


class Shape:
    """The figures of the source's shape."""

    def __init__(self) -> None:
        files = {
            path.relative_to(SOURCE).as_posix(): path.read_text()
            for path in sorted(SOURCE.rglob("*.py"))
        }
        self.lines = {name: text.count("\n") for name, text in files.items()}
        self.noqa = sum(len(re.findall(r"# (?:ruff: )?noqa", text)) for text in files.values())
        self.functions: dict[str, int] = {}
        self.callables: list[str] = []
        for name, text in files.items():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    place = f"{name}:{node.lineno} {node.name}"
                    self.functions[place] = _length(node)
                    self.callables += [f"{place}({p})" for p in _callable_parameters(node)]
        folders = Counter(name.rpartition("/")[0] for name in files if "__init__" not in name)
        self.modules_in = dict(folders)

    @property
    def noqa_rate(self) -> float:
        """`# noqa` comments in 1,000 lines."""
        return 1000 * self.noqa / sum(self.lines.values())

    def __str__(self) -> str:
        lengths = sorted(self.functions.values())
        folder = max((f for f in self.modules_in if f != "cli"), key=self.modules_in.__getitem__)
        file = max(self.lines, key=self.lines.__getitem__)
        function = max(self.functions, key=self.functions.__getitem__)
        return "\n".join(
            [
                f"{sum(self.lines.values()):6} lines in {len(self.lines)} files",
                f"{self.lines[file]:6} lines in the longest file, {file}",
                f"{self.functions[function]:6} lines in the longest function, {function}",
                f"{lengths[len(lengths) // 2]:6} lines in the median function",
                f"{self.modules_in[folder]:6} modules in the largest package, {folder}",
                f"{len(self.callables):6} parameters of type Callable",
                f"{self.noqa_rate:6.1f} `# noqa` in 1,000 lines ({self.noqa})",
                f"{len(circles(graph(modules()))):6} circle of imports",
            ]
        )


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    docstring = ast.get_docstring(node, clean=False)
    own = (node.end_lineno or node.lineno) - node.lineno + 1
    return own - (docstring.count("\n") + 1 if docstring else 0)


def _callable_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [
        one.arg
        for one in every
        if one is not None
        and one.annotation is not None
        and "Callable" in ast.unparse(one.annotation)
    ]


if __name__ == "__main__":
    sys.stdout.write(f"{Shape()}\n")
