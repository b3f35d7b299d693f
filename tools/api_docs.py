"""Write docs/api.md, the reference of every public name, from the docstrings.

    python -m tools.api_docs           writes the page
    python -m tools.api_docs --check   exits with 1 if the page is stale or a docstring is missing

It imports kept with Keras, because the callbacks complete their docstrings and signatures then.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kept
import kept.errors
from tools.markdown import code, escaped, markdown, text_of, wrapped
from tools.members import Member, fields_of, function_of, has_own_doc, member_doc, members

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(kept.__file__).parent
PAGE = SOURCE.parent.parent / "docs" / "api.md"
INTRODUCTION = f"""\
# Public names

Every public name of kept {kept.__version__}, from its docstrings. `make docs` writes this page, so
edit the docstrings instead. Guides by task: [resuming](resume.md), [space](space.md),
[object storage](remote.md), [W&B](wandb.md), [metrics](evaluate.md), [promotion](promotion.md),
[origin](provenance.md), [automations](automations.md), [search](search.md). Words:
[glossary](glossary.md).

`import kept` imports each name at its first use. Names of Training need Keras and a framework; the
others do not. Names that begin with `_`, and modules of kept that this page does not name, may
change without notice.
"""
# Section -> its names: public names of kept, or module:class for what their methods return.
SECTIONS = {
    "Training": [
        "ModelCheckpoint",
        "WandbModelCheckpoint",
        "OrbaxCheckpoint",
        "resume",
        "verify_resume",
        "Dataset",
    ],
    "Stores": [
        "open_store",
        "Store",
        "Version",
        "Artifact",
        "MemoryFile",
        "Source",
        "Keep",
        "log_orbax",
        "import_checkpoints",
        "export_model",
    ],
    "Results": [
        "kept.training.callbacks.resume:Resume",
        "kept.training.verify_resume:Verification",
        "kept.store.log.history:VersionRecord",
        "kept.store.content.manifest:Manifest",
        "kept.store.content.manifest:File",
        "kept.store.content.manifest:Chunk",
        "kept.store.scrub.report:Report",
        "kept.store.problems:Problem",
        "kept.store.repair.plan:Plan",
        "kept.store.signing.statement:Signature",
        "kept.store.gc.usage:Usage",
        "kept.store.retention.policy:Decision",
        "kept.store.retention.keep:Period",
        "kept.store.gc.collector:Collection",
        "kept.store.gc.collector:Doomed",
        "kept.store.compact.compactor:Compacted",
    ],
    "Changes": [
        "kept.store.log.changes:Note",
        "kept.store.rank.rule:Rule",
        "kept.store.promotion.history:Change",
        "kept.store.origin.links:Link",
        "kept.store.origin.uses:Held",
        "kept.store.origin.lineage:Lineage",
        "kept.store.whole.remove:Removal",
        "kept.store.whole.restore:Restored",
    ],
    "Differences": [
        "kept.store.diff.result:Diff",
        "kept.store.diff.result:TensorChange",
        "kept.store.diff.result:Figures",
        "kept.store.diff.result:LayerChange",
        "kept.store.diff.result:ValueChange",
        "kept.store.diff.result:FileChange",
        "kept.store.tensors.tensor:StoredTensor",
    ],
}
ABOUT = {
    "Changes": "What is known of versions after their save, and what methods of that return.",
    "Results": "What the functions and methods above return. kept creates these objects.",
    "Differences": "What `Version.diff` returns; see diff.md.",
    "Types": "Names of types in the signatures above.",
    "Errors": "`kept.KeptError` is the base of every error that kept raises on purpose. The others "
    "are in `kept.errors`.",
    "Modules": "Each has `ModelCheckpoint` and `WandbModelCheckpoint`, with the arguments above.",
}
MODULES = ["keras", "tf_keras"]
TYPES = {  # aliases in signatures -> the module that defines them
    "Storable": "kept.store.content.find_files",
    "AnyPath": "kept.store.content.find_files",
    "Progress": "kept.bucket.transfer",
    "Where": "kept.sync.mirror.mirrors",
    "Train": "kept.training.verify_resume",
    "Logs": "kept.training.callbacks.hooks",
}
INTERNAL = {
    "Bucket",
    "Entry",
    "Log",
    "Model",
    "Table",
}  # classes that public methods return, and that this page omits


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION, "\n".join(contents())]
    for section, names in SECTIONS.items():
        parts += heading(section)
        for name in names:
            parts += name_text(name)
    parts += [*heading("Types"), "\n".join(types())]
    parts += [*heading("Modules"), "\n".join(modules())]
    parts += [*heading("Errors"), "\n".join(errors())]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def heading(section: str) -> list[str]:
    """Return the heading of a section and its introduction."""
    return [f"## {section}", wrapped(ABOUT.get(section, ""))]


def contents() -> Iterator[str]:
    """Yield the lines of the table of contents."""
    for section, names in SECTIONS.items():
        links = ", ".join(f"[{short(name)}](#{anchor(name)})" for name in names)
        yield wrapped(f"* [{section}](#{section.lower()}): {links}", "  ")
    for section in ("Types", "Modules", "Errors"):
        yield f"* [{section}](#{section.lower()})"


def anchor(name: str) -> str:
    """Return the anchor of a name's heading, as GitHub makes it for a heading that repeats."""
    every = [short(each).lower() for names in SECTIONS.values() for each in names]
    before = [each for names in SECTIONS.values() for each in names]
    repeats = every[: before.index(name)].count(short(name).lower())
    return short(name).lower() + (f"-{repeats}" if repeats else "")


def short(name: str) -> str:
    """Return a name without its module."""
    return name.rpartition(":")[2]


def found(name: str) -> Any:
    """Return the class or function of that name."""
    module, _, attribute = name.rpartition(":")
    return getattr(importlib.import_module(module or "kept"), attribute)


def documented() -> list[Any]:
    """Return every class and function that the page has."""
    return [found(name) for names in SECTIONS.values() for name in names]


def name_text(name: str) -> Iterator[str]:
    """Yield the paragraphs of a public class or function."""
    value = found(name)
    yield f"### {short(name)}"
    is_result = ":" in name
    if not isinstance(value, type):
        yield code(f"kept.{value.__name__}", value)
        yield markdown(inspect.getdoc(value))
        return
    if is_result:
        yield f"A class of `{value.__module__}`."
    elif value is kept.Keep or not dataclasses.is_dataclass(
        value
    ):  # others are not for users to make
        yield code(f"kept.{value.__name__}", value)
    yield markdown(inspect.getdoc(value))
    constructor = vars(value).get("__init__")
    if not dataclasses.is_dataclass(value) and not is_result and constructor:
        yield markdown(inspect.getdoc(constructor) if constructor.__doc__ else "")
    yield "\n".join(field_lines(value))
    for base in documented_bases(value):
        link = f"[{base.__name__}](#{base.__name__.lower()})"
        yield f"A subclass of {link}; it has the same methods and properties."
    for member in members(value, documented_bases(value)):
        yield from member_text(value, member)


def field_lines(owner: type) -> Iterator[str]:
    """Yield a list item for each field of a class and each attribute that its __init__ sets."""
    for name, annotation, comment in fields_of(owner):
        shown = f" (`{annotation}`)" if annotation else ""
        text = f": {escaped(comment)}" if comment else ""
        yield wrapped(f"* `{name}`{shown}{text}", "  ")


def documented_bases(owner: type) -> list[type]:
    """Return the bases of a class that the page has, nearest first."""
    every = documented()
    return [base for base in inspect.getmro(owner)[1:] if base in every]


def member_text(owner: type, member: Member) -> Iterator[str]:
    """Yield the paragraphs of a method or property."""
    function = function_of(member.value)
    yield f"#### {owner.__name__}.{member.name}"
    if isinstance(member.value, classmethod | staticmethod):
        yield code(f"{owner.__name__}.{member.name}", getattr(owner, member.name))
    elif inspect.isfunction(member.value):
        yield code(member.name, member.value, is_method=True)
    elif returned := function.__annotations__.get("return"):
        yield f"`{text_of(returned)}`"
    yield markdown(member_doc(member))


def types() -> Iterator[str]:
    """Yield a list item for each alias of a type, as its module defines it."""
    for name, module in TYPES.items():
        source = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text()
        [line] = re.findall(rf"^ *({name} = .*)$", source, re.MULTILINE)
        definition, _, comment = line.partition("  # ")
        yield wrapped(f"* `{definition}`" + (f": {escaped(comment)}" if comment else ""), "  ")


def modules() -> Iterator[str]:
    """Yield a list item for each public module with callbacks."""
    for name in MODULES:
        doc = ast.get_docstring(ast.parse((SOURCE / f"{name}.py").read_text())) or ""
        yield wrapped(f"* `kept.{name}`: {escaped(doc)}", "  ")


def errors(base: type = kept.KeptError, indent: str = "") -> Iterator[str]:
    """Yield the tree of errors, a list item for each."""
    builtin = [b.__name__ for b in base.__bases__ if b.__module__ == "builtins" and indent]
    also = f" (also a `{', '.join(builtin)}`)" if builtin else ""
    doc = " ".join((inspect.getdoc(base) or "").split())
    yield wrapped(f"{indent}* `{base.__name__}`{also}: {escaped(doc)}", f"{indent}  ")
    for value in vars(kept.errors).values():
        if isinstance(value, type) and base in value.__bases__:
            yield from errors(value, f"{indent}  ")


def problems() -> Iterator[str]:
    """Yield what the docstrings lack: a text for each name, a place for each result."""
    shown = {short(name) for names in SECTIONS.values() for name in names}
    for name in {*kept.__all__} - shown - {"__version__", "KeptError"}:
        yield f"SECTIONS of tools/api_docs.py lacks kept.{name}"
    classes = set(class_names())
    for value in documented():
        if not has_own_doc(value):
            yield f"{value.__module__}.{value.__name__} has no docstring"
        functions = {value.__name__: value}
        if isinstance(value, type):
            all_members = {
                f"{value.__name__}.{m.name}": m for m in members(value, documented_bases(value))
            }
            yield from (
                f"{n} has no docstring" for n, m in all_members.items() if not member_doc(m)
            )
            functions = {name: function_of(m.value) for name, m in all_members.items()}
            for name, annotation, comment in fields_of(value):
                if not annotation and not comment:
                    yield f"{value.__name__}.{name} has no comment where __init__ sets it"
        for name, function in functions.items():
            returned = text_of(getattr(function, "__annotations__", {}).get("return", ""))
            for lacking in {*re.findall(r"\w+", returned)} & classes - shown - INTERNAL:
                yield f"{name} returns {lacking}, which SECTIONS of tools/api_docs.py lacks"


def class_names() -> Iterator[str]:
    """Yield the name of every class of kept."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name


def main(arguments: list[str]) -> int:
    """Write the page, or check it; return the exit code."""
    lacking = sorted(problems())
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        lacking.append("docs/api.md is stale, because docstrings have changed: run make docs")
    for problem in lacking:
        print(problem, file=sys.stderr)
    return bool(lacking)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
