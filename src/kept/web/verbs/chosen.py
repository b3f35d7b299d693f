"""Which versions an address names: ref=m:v1&ref=m:v2, or name=m&versions=1-4,7."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.names import is_automatic, parse_reference
from kept.store.log.lookup import all_records, records_of, view_of
from kept.units import counted, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.store import Store
    from kept.store.version import Version
    from kept.web.query import Query
    from kept.web.verbs.plan import Row

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_MOST_READ = 5000  # manifests, to count the bytes that a deletion frees
_MOST_READ_REMOTE = 500


def chosen(store: Store, form: Query, *, deleted: bool = False) -> list[Version]:
    """Return the versions by name and number, each once; raises NotFound or InvalidInput.

    With deleted, also those that are deleted.
    """
    found: dict[tuple[str, int], Version] = {}
    for text in form.all("ref"):
        version = _deleted(store, text) if deleted else store.version(text)
        found[version.name, version.index] = version
    if "versions" in form:
        wanted = _ranges(form.get("versions"))
        name = form.get("name")
        for record in records_of(view_of(store.logs, name), deleted=deleted):
            if any(first <= record.index <= last for first, last in wanted):
                found[name, record.index] = store._of(name, record)  # noqa: SLF001 - a friend
    if not found:
        raise InvalidInput("No version is chosen. Select versions in the table of an artifact.")
    return [found[key] for key in sorted(found)]


def one(store: Store, form: Query) -> Version:
    """Return the version that ref names."""
    if not form.get("ref"):
        raise InvalidInput("No version is chosen: the address has no ref=NAME:vN.")
    return store.version(form.get("ref"))


def _deleted(store: Store, text: str) -> Version:
    wanted = parse_reference(text)
    if wanted.index is None:
        raise InvalidInput(f"Name the version by its number, as in m:v3. Received: {text!r}")
    return store.logged(wanted.name, wanted.index)


def _ranges(text: str) -> list[tuple[int, int]]:
    found = [_RANGE.fullmatch(part.strip()) for part in text.split(",")]
    if None in found:
        raise InvalidInput(f"versions is a list such as 1-4,7. Received: {text!r}")
    return [(int(part[1]), int(part[2] or part[1])) for part in found if part]


def as_pairs(versions: Iterable[Version]) -> tuple[tuple[str, str], ...]:
    """Return the parameters that name these versions, as short as possible."""
    numbers: dict[str, list[int]] = {}
    for version in versions:
        numbers.setdefault(version.name, []).append(version.index)
    if len(numbers) != 1 or sum(map(len, numbers.values())) < 3:
        return tuple(("ref", f"{name}:v{i}") for name, each in numbers.items() for i in each)
    [(name, indexes)] = numbers.items()
    return ("name", name), ("versions", _as_ranges(sorted(indexes)))


def _as_ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def own_aliases(version: Version) -> list[str]:
    """Return the aliases of a version that a person or a rule has put."""
    return [alias for alias in version.aliases if not is_automatic(alias)]


def named(versions: list[Version]) -> str:
    """Return versions as a few words: "m:v3", "12 versions of m"."""
    if len(versions) == 1:
        return versions[0].reference
    names = {version.name for version in versions}
    where = names.pop() if len(names) == 1 else counted(len(names), "artifact")
    return f"{counted(len(versions), 'version')} of {where}"


def place(version: Version) -> str:
    """Return the address of a version's page, below the first one."""
    return f"artifacts/{version.name}/{version.version}/"


def row(version: Version, text: str) -> Row:
    """Return a row of the plan."""
    from kept.web.verbs.plan import Row

    return Row(version.reference, text, version.name, version.index)


def freed(store: Store, versions: Iterable[Version]) -> str | None:
    """Return how many bytes a gc frees after these versions are deleted, as text.

    None for a store with too many versions to count them at once.
    """
    from kept.store.gc.usage import freed_by

    artifacts = all_records(store.logs, None)
    most = _MOST_READ_REMOTE if store.bucket.is_remote else _MOST_READ
    if sum(len(records) for _, records in artifacts) > most:
        return None
    return size_text(freed_by(store.bucket, artifacts, {(v.name, v.index) for v in versions}))
