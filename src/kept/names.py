"""The rules for artifact names, aliases, references and paths in a version.

All rules about names are here; writers and readers of a store use the same ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.errors import InvalidName, InvalidPath, InvalidReference

if TYPE_CHECKING:
    from collections.abc import Iterable

LATEST = "latest"
BEST = "best"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_VERSION = re.compile(r"v(0|[1-9][0-9]*)")
_AUTOMATIC = re.compile(r"epoch_\d+(_batch_\d+)?")
_DIGEST_PREFIX = re.compile(r"[0-9a-f]{8,64}")
# Windows gives these names to devices, with any extension.
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(10)}
_NEVER = re.compile(r"[\x00-\x1f\\:]")
_RESERVED_BY_WINDOWS = re.compile(r'[<>"|?*]')
_UNFIT_IN_NAME = re.compile(r'[\x00-\x1f\\/:<>"|?*]')
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of Unicode
_MAX_PATH, _MAX_PART = 1024, 255  # characters, bytes
_SHORTEST = 3  # characters of an abbreviation


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference; at most one of index, alias and digest is set, none means latest."""

    name: str
    index: int | None = None
    alias: str | None = None
    digest: str | None = None


def is_word(text: object) -> bool:
    """Return whether a value has the form that names, types and aliases share."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def is_name(text: object) -> bool:
    """Return whether a value has the form of an artifact's name."""
    return isinstance(text, str) and is_word(text) and bool(text.strip("."))


def check_name(name: str, what: str = "An artifact name") -> str:
    """Return a valid artifact name, or another word of the same form, or raise InvalidName."""
    if not is_name(name):
        raise InvalidName(
            f"{what} has 1 to 128 characters out of A-Z a-z 0-9 . _ - and not only dots. "
            f"Received: {name!r}{_of_reference(name)}"
        )
    return name


def _of_reference(text: object) -> str:
    """Return which part of a reference is the name, as a sentence; nothing for other texts."""
    start = re.match(r"([A-Za-z0-9._-]+)[:@]", text) if isinstance(text, str) else None
    return f", which names a version; the artifact is {start[1]!r}" if start else ""


def check_alias(alias: str) -> str:
    """Return a valid alias, or raise InvalidName."""
    if not isinstance(alias, str) or not _NAME.fullmatch(alias):
        raise InvalidName(
            f"An alias has 1 to 128 characters out of A-Z a-z 0-9 . _ -. Received: {alias!r}"
        )
    if alias == LATEST:
        raise InvalidName(
            "'latest' cannot be set: it always names the newest version. Leave it out. "
            "Received: 'latest'"
        )
    if version_index(alias) is not None:
        raise InvalidName(
            f"An alias cannot look like a version number (v0, v1, …). Received: {alias!r}"
        )
    return alias


def check_own_alias(alias: str) -> str:
    """Return an alias that a person may put on a version, or raise InvalidName."""
    check_alias(alias)
    if is_automatic(alias):
        raise InvalidName(
            f"{alias!r} cannot be set by hand: a callback gives epoch_<n> and epoch_<n>_batch_<b> "
            f"to the checkpoint of that moment. Choose another alias. Received: {alias!r}"
        )
    return alias


def check_aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    """Return valid aliases without repetitions, in their order, or raise InvalidName."""
    if isinstance(aliases, str):
        raise InvalidName(f"aliases is a list of texts, not one text. Received: {aliases!r}")
    return tuple(dict.fromkeys(map(check_alias, aliases)))


def version_index(text: str) -> int | None:
    """Return 3 for 'v3' and None for anything that is not a version number."""
    match = _VERSION.fullmatch(text)
    return int(match[1]) if match else None


def is_automatic(alias: str) -> bool:
    """Return whether an alias says only when a version was made: epoch_<n> or latest.

    The callback gives such an alias to every version, and the store computes latest.
    """
    return alias == LATEST or _AUTOMATIC.fullmatch(alias) is not None


def parse_reference(text: str) -> Reference:
    """Parse name, name:v3, name:alias, name:latest or name@digest (8 to 64 hex digits).

    Raises InvalidReference.
    """
    if isinstance(text, str):
        name, at, wanted = text.partition("@")
        if at and _NAME.fullmatch(name) and _DIGEST_PREFIX.fullmatch(wanted):
            return Reference(name, digest=wanted)
        name, colon, selector = text.partition(":")
        if _NAME.fullmatch(name) and not colon:
            return Reference(name)
        if _NAME.fullmatch(name) and _NAME.fullmatch(selector):
            return _selected(name, selector)
    raise InvalidReference(
        "A reference is NAME, NAME:v3, NAME:ALIAS or NAME@DIGEST (at least 8 hex digits). "
        f"Received: {text!r}"
    )


def check_selected(reference: str) -> str:
    """Return a reference that names a version, not only an artifact; raises InvalidReference."""
    if is_word(reference):
        raise InvalidReference(
            f"A name alone deletes nothing: name a version ({reference}:v3, {reference}:latest) or "
            f"an alias. To remove the whole artifact: kept rm --artifact {reference}, or "
            f"store.remove_artifact. Received: {reference!r}"
        )
    return reference


def _selected(name: str, selector: str) -> Reference:
    index = version_index(selector)
    if index is not None:
        return Reference(name, index=index)
    return Reference(name) if selector == LATEST else Reference(name, alias=selector)


def check_path(path: str) -> str:
    """Return a valid path for a new version, or raise InvalidPath.

    Valid is a relative path with / between its parts that means the same file on Linux, macOS
    and Windows: no empty part, no . or .., no backslash or colon, no device name. It has no
    control or invisible characters, and none of those that Windows reserves.
    """
    problem = _path_problem(path) or _unfit(path)
    if problem:
        raise InvalidPath(f"A path in a version {problem}. Received: {path!r}")
    return path


def portable_name(name: str) -> str:
    """Return a file's name as every system can hold it; a name that check_path takes stays."""
    if not (_path_problem(name) or _unfit(name)):
        return name
    text = name.encode(errors="replace").decode()
    kept = (c if c.isprintable() and not _UNFIT_IN_NAME.match(c) else "_" for c in text)
    changed = re.sub(r"[. ]$", "_", "".join(kept)) or "_"
    changed = changed if _part_problem(changed) is None else f"_{changed}"
    while len(changed.encode()) > _MAX_PART:
        changed = changed[1:]
    return changed


def check_paths(paths: Iterable[str], *, stored: bool = False) -> None:
    """Check every path, and that no two name the same file on a disk that ignores case.

    Paths that are stored already may have characters that a new path must not have, because
    earlier versions of kept allowed them. Raises InvalidPath.
    """
    folders: dict[str, str] = {}  # case-folded -> as first written
    files: dict[str, str] = {}
    for path in paths:
        problem = _path_problem(path) or (None if stored else _unfit(path))
        if problem:
            raise InvalidPath(f"A path in a version {problem}. Received: {path!r}")
        folder = path.rpartition("/")[0]
        if folder and folders.get(_folded(folder)) != folder:
            _add_folders(folders, folder)
        key = _folded(path)
        if key in files:
            raise _collision(files[key], path)
        files[key] = path
    _check_no_file_is_a_folder(files, folders)


def _add_folders(folders: dict[str, str], path: str) -> None:
    """Add a folder, and those above it."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        first = folders.setdefault(_folded(here), here)
        if first != here:
            raise _collision(first, here)


def _check_no_file_is_a_folder(files: dict[str, str], folders: dict[str, str]) -> None:
    for folded, folder in folders.items():
        if folded in files:
            raise InvalidPath(
                "Two paths of a version collide: one is a file and a folder at once. "
                f"Received: {files[folded]!r} and {folder + '/'!r}"
            )


def _collision(first: str, second: str) -> InvalidPath:
    return InvalidPath(
        "Two paths of a version are the same, or differ only in case or in how letters are "
        f"composed, so they collide on some disks. Received: {first!r} and {second!r}"
    )


def _folded(path: str) -> str:
    """Return the path as seen by a disk that ignores case and composition (macOS)."""
    if path.isascii():
        folded = path.lower()
    else:
        import unicodedata

        folded = unicodedata.normalize("NFC", path).casefold()
    return path if folded == path else folded  # of 100,000 paths, no copy stays in memory


def _path_problem(path: str) -> str | None:
    if not isinstance(path, str) or not path:
        return "cannot be empty"
    if len(path) > _MAX_PATH:
        return f"has at most {_MAX_PATH} characters"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "has to be valid Unicode"
    if path.startswith("/"):
        return "cannot be absolute"
    if _NEVER.search(path):
        return "cannot contain a control character, backslash or colon"
    return next(filter(None, map(_part_problem, path.split("/"))), None)


def _is_invisible(character: str) -> bool:
    import unicodedata

    return unicodedata.category(character) in _INVISIBLE


def _unfit(path: str) -> str | None:
    """Return why a path is not allowed in a new version, although stored ones may have it."""
    if found := _RESERVED_BY_WINDOWS.search(path):
        return f"cannot contain {found[0]!r}, which Windows reserves"
    if not path.isprintable() and any(map(_is_invisible, path)):
        return "cannot contain control characters, or invisible ones such as those of bidi text"
    return None


def _part_problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "cannot contain an empty part, . or .."
    if len(part.encode()) > _MAX_PART:
        return f"has parts of at most {_MAX_PART} bytes"
    if part[-1] in ". ":
        return "cannot have a part that ends in a dot or a space (Windows drops it)"
    if part.split(".", maxsplit=1)[0].lower() in _RESERVED:
        return "cannot contain a device name of Windows (con, nul, com1, …)"
    return None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a question that asks for the known name close to a wrong one, or nothing."""
    close = close_to(name, known)
    return f". Did you mean {close[0]!r}?" if close else ""


def close_to(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that are close to a wrong one, the closest first."""
    names = sorted(known)
    folded = {one.casefold(): one for one in reversed(names)}
    import difflib

    close = difflib.get_close_matches(name.casefold(), folded, 3, 0.75)
    if not close and len(name) >= _SHORTEST:  # val_acc for val_accuracy
        close = [one for one in folded if one.startswith(name.casefold())]
    return [folded[one] for one in close]
