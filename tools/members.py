"""The members of a class that its users see, found by looking at kept's classes."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SPECIAL = {"__getitem__", "__len__"}  # methods with such a name that users call


class Member(NamedTuple):
    """A method, property or field of a class."""

    name: str
    value: Any
    owner: type


def members(owner: type, documented_bases: Iterable[type]) -> Iterator[Member]:
    """Yield the public methods and properties that kept defines, also in undocumented bases."""
    inherited = {each for base in documented_bases for each in inspect.getmro(base)}
    seen = set()
    for base in inspect.getmro(owner):
        if not base.__module__.startswith("kept.") or base in inherited:
            continue
        for name, value in vars(base).items():
            is_public = not name.startswith("_") or name in SPECIAL
            if is_public and name not in seen and is_callable_or_property(value):
                seen.add(name)
                yield Member(name, value, owner)


def is_callable_or_property(value: Any) -> bool:
    """Return whether a class attribute is a method or a property."""
    kinds = (property, functools.cached_property, classmethod, staticmethod)
    return isinstance(value, kinds) or inspect.isfunction(value)


def function_of(value: Any) -> Any:
    """Return the function behind a method or property."""
    if isinstance(value, property):
        return value.fget
    return getattr(value, "func", getattr(value, "__func__", value))


def member_doc(member: Member) -> str:
    """Return the docstring of a member; a base class of kept may have it."""
    return inspect.getdoc(function_of(member.value)) or ""


def fields_of(owner: type) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the annotation and the comment of each public field and attribute."""
    lines, _ = inspect.getsourcelines(owner)
    [definition] = ast.parse(textwrap.dedent("".join(lines))).body
    if owner is kept.Keep or not isinstance(definition, ast.ClassDef):
        return  # the docstring of Keep lists its fields as arguments
    for node in definition.body:
        if isinstance(node, ast.AnnAssign):
            yield from field(node.target, ast.unparse(node.annotation), node, lines)
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = {each.arg for each in node.args.args}
            for target, assignment in attributes(node):
                for name, _, comment in field(target, "", assignment, lines):
                    is_argument = name in arguments and not comment
                    yield name, "", "the argument of this name" if is_argument else comment


def attributes(constructor: ast.FunctionDef) -> Iterator[tuple[ast.expr, ast.stmt]]:
    """Yield each attribute that a constructor sets, with its assignment."""
    for node in ast.walk(constructor):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from ((part, node) for part in parts if isinstance(part, ast.Attribute))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            yield node.target, node


def field(
    target: ast.expr, annotation: str, node: ast.stmt, lines: list[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield a field that is public, with the comment behind it."""
    name = getattr(target, "id", getattr(target, "attr", "_"))
    if not name.startswith("_"):
        _, _, comment = lines[(node.end_lineno or 0) - 1].partition("  # ")
        is_for_tools = comment.startswith(("type:", "noqa", "fmt:"))
        yield name, annotation, "" if is_for_tools else comment.strip()


def has_own_doc(value: Any) -> bool:
    """Return whether a class or function has a docstring, not one of Python's making."""
    return bool(value.__doc__) and not value.__doc__.startswith(f"{value.__name__}(")
