"""The rules for artifact names, aliases, references and paths in a version.

All rules about names are here; writers and readers of a store use the same ones.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.errors import InvalidName, InvalidPath, InvalidReference

if TYPE_CHECKING:
    from collections.abc import Iterable

LATEST = "latest"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_VERSION = re.compile(r"v(0|[1-9][0-9]*)")
_AUTOMATIC = re.compile(r"epoch_\d+(_batch_\d+)?")
_DIGEST_PREFIX = re.compile(r"[0-9a-f]{8,64}")
# Windows gives these names to devices, with any extension.
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(10)}
_MAX_PATH = 1024
_MAX_PART = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference; at most one of index, alias and digest is set, none means latest."""

    name: str
    index: int | None = None
    alias: str | None = None
    digest: str | None = None


def check_name(name: str, what: str = "An artifact name") -> str:
    """Return a valid artifact name, or another word of the same form, or raise InvalidName."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.strip("."):
        raise InvalidName(
            f"{what} has 1 to 128 characters out of A-Z a-z 0-9 . _ - and not only dots. "
            f"Received: {name!r}"
        )
    return name


def check_alias(alias: str) -> str:
    """Return a valid alias, or raise InvalidName."""
    if not isinstance(alias, str) or not _NAME.fullmatch(alias):
        raise InvalidName(
            f"An alias has 1 to 128 characters out of A-Z a-z 0-9 . _ -. Received: {alias!r}"
        )
    if alias == LATEST:
        raise InvalidName(
            "'latest' cannot be set: it always names the newest version. Received: 'latest'"
        )
    if version_index(alias) is not None:
        raise InvalidName(
            f"An alias cannot look like a version number (v0, v1, …). Received: {alias!r}"
        )
    return alias


def check_aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    """Return the aliases without repetitions, in their order; 'latest' is dropped.

    Callers used to W&B pass 'latest' among the aliases; here it needs no setting.
    """
    if isinstance(aliases, str):
        raise InvalidName(f"aliases is a list of texts, not one text. Received: {aliases!r}")
    return tuple(dict.fromkeys(check_alias(a) for a in aliases if a != LATEST))


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


def _selected(name: str, selector: str) -> Reference:
    index = version_index(selector)
    if index is not None:
        return Reference(name, index=index)
    return Reference(name) if selector == LATEST else Reference(name, alias=selector)


def check_path(path: str) -> str:
    """Return a valid path in a version, or raise InvalidPath.

    Valid is a relative path with / between its parts that means the same file on Linux, macOS
    and Windows: no empty part, no . or .., no NUL, backslash or colon, no device name.
    """
    problem = _path_problem(path)
    if problem:
        raise InvalidPath(f"A path in a version {problem}. Received: {path!r}")
    return path


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
    if any(ord(c) < 32 or c in "\\:" for c in path):
        return "cannot contain a control character, backslash or colon"
    return next(filter(None, map(_part_problem, path.split("/"))), None)


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


def check_paths(paths: Iterable[str]) -> None:
    """Check every path, and that no two name the same file on a disk that ignores case.

    Raises InvalidPath.
    """
    spelled: dict[str, str] = {}  # case-folded path or folder -> as first written
    files: set[str] = set()
    for path in paths:
        parts = check_path(path).split("/")
        for depth in range(1, len(parts) + 1):
            here = "/".join(parts[:depth])
            _check_spelling(spelled, here)
            if _folded(here) in files:
                raise InvalidPath(
                    f"Two paths of a version collide. Received: {here!r} and {path!r}"
                )
        files.add(_folded(path))
    _check_no_file_is_a_folder(files, spelled)


def _folded(path: str) -> str:
    """Return the path as seen by a disk that ignores case and composition (macOS)."""
    return unicodedata.normalize("NFC", path).casefold()


def _check_spelling(spelled: dict[str, str], path: str) -> None:
    first = spelled.setdefault(_folded(path), path)
    if first != path:
        raise InvalidPath(
            "Two paths of a version differ only in case or in how letters are composed, so they "
            f"collide on some disks. Received: {first!r} and {path!r}"
        )


def _check_no_file_is_a_folder(files: set[str], spelled: dict[str, str]) -> None:
    for folded in spelled:
        parent = folded.rpartition("/")[0]
        if parent in files:
            raise InvalidPath(
                f"A path of a version is a file and a folder at once. Received: {spelled[parent]!r}"
            )
