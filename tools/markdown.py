"""Signatures and docstrings as Markdown."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WIDTH = 100
LISTS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")


def code(name: str, value: Any, *, is_method: bool = False) -> str:
    """Return a signature as a block of code."""
    signature = inspect.signature(value)
    parameters = list(signature.parameters.values())[is_method:]
    texts = list(parameter_texts(parameters, annotations_of(value)))
    returned = signature.return_annotation
    shows_return = not isinstance(value, type) and returned is not inspect.Signature.empty
    arrow = f" -> {text_of(returned)}" if shows_return else ""
    line = f"{name}({', '.join(texts)}){arrow}"
    if len(line) > WIDTH:
        line = "\n".join([f"{name}(", *(f"    {text}," for text in texts), f"){arrow}"])
    return f"```python\n{line}\n```"


def parameter_texts(
    parameters: Iterable[inspect.Parameter], annotations: dict[str, str]
) -> Iterator[str]:
    """Yield the parameters of a signature, with the marks for keyword-only ones."""
    has_star = False
    for parameter in parameters:
        has_star = has_star or parameter.kind is parameter.VAR_POSITIONAL
        if parameter.kind is parameter.KEYWORD_ONLY and not has_star:
            has_star = True
            yield "*"
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        text = stars.get(parameter.kind, "") + parameter.name
        annotation = parameter.annotation
        if annotation is parameter.empty:
            annotation = annotations.get(parameter.name, annotation)
        if annotation is not parameter.empty:
            text += f": {text_of(annotation)}"
        if parameter.default is not parameter.empty:
            text += f"{' = ' if ':' in text else '='}{parameter.default!r}"
        yield text


def annotations_of(value: Any) -> dict[str, str]:
    """Return the types of the options that a callback's signature names without types."""
    options = getattr(value, "options_type", None)
    return {field.name: field.type for field in dataclasses.fields(options)} if options else {}


def text_of(annotation: Any) -> str:
    """Return an annotation as it is written."""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any")


def markdown(doc: str | None) -> str:
    """Return a docstring as Markdown; what stands below Args: and the like becomes a list."""
    lines = (doc or "").splitlines()
    done: list[str] = []
    index = 0
    while index < len(lines):
        end = index + 1
        if lines[index] not in LISTS:
            while lines[index] and end < len(lines) and lines[end]:
                end += 1
            done.append(paragraph(lines[index:end]))
            index = end
            continue
        while end < len(lines) and (not lines[end] or lines[end].startswith(" ")):
            end += 1
        title = lines[index].rstrip(":").replace("Args", "Arguments")
        done += [f"**{title}**", "", *items(lines[index + 1 : end]), ""]
        index = end
    return "\n".join(done).strip()


def paragraph(lines: list[str]) -> str:
    """Return lines without an empty one between them as Markdown; indented ones keep their form."""
    if any(line.startswith(" ") for line in lines):
        return "\n".join(lines)
    return wrapped(escaped(" ".join(lines)))


def items(lines: list[str]) -> Iterator[str]:
    """Yield a list item for each entry of a section; more indented lines continue an entry."""
    entries: list[str] = []
    for line in filter(None, textwrap.dedent("\n".join(lines)).splitlines()):
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line)
    for entry in entries:
        name, colon, text = entry.partition(": ")
        shown = f"`{name}`: {escaped(text)}" if colon else escaped(entry)
        yield wrapped(f"* {shown}", "  ")


def escaped(text: str) -> str:
    """Return text with what Markdown would take for HTML or emphasis escaped, code excepted."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"[<*\[]|(?<!\w)_|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def wrapped(text: str, indent: str = "") -> str:
    """Return text in lines of up to 100 characters."""
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
