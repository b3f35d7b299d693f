"""Protected aliases: a list in the store, one key an alias: protected/<alias>.json.

Only a promotion or a rollback moves a protected alias. Of two values for one alias the later one
counts, so copies of a store agree. A value also says since when the alias is protected without a
break, because a mirror carries only the moves made before that. The list is no part of a log: a
writer that has looked at it just before the alias was protected can still move the alias.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import AliasProtected, Damaged, InvalidName, KeyNotFound, NotFound
from kept.names import BEST, check_alias, is_automatic, is_word
from kept.parallel import mapped
from kept.store.encoding import again_if_damaged, read_bounded, seal, unseal
from kept.store.format_marker import EVENTS_FORMAT, raise_format
from kept.store.log.events import check_moment
from kept.store.origin.actor import actor
from kept.store.problems import warn
from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kept.bucket.base import Bucket
    from kept.store.encoding import Json
    from kept.store.log.history import VersionRecord

_ROOT = "protected/"
_KEY = re.compile(r"protected/([A-Za-z0-9._-]{1,128})\.json")
_MOST = 4096  # bytes
_LONG_AGO = datetime.fromtimestamp(0, UTC)  # since when an alias with a damaged value is protected


class Protection(NamedTuple):
    """What the store says about an alias."""

    alias: str
    protected: bool  # False if the protection was taken back
    time: str  # of the last change
    by: str
    since: str | None = None  # the begin of the protection, if another store began it before time
    ended: str | None = None  # when it was not protected before, None for never

    @property
    def began(self) -> datetime:
        """Since when it is protected without a break, if it is."""
        return datetime.fromisoformat(self.since or self.time)

    @property
    def broken(self) -> datetime:
        """Until when it was not protected, as far as the store knows."""
        ended = self.ended if self.protected else self.time
        return datetime.fromisoformat(ended) if ended else _LONG_AGO

    def value(self) -> dict[str, Json]:
        """Return what the store holds under its key."""
        return {key: each for key, each in self._asdict().items() if each is not None}

    @property
    def moment(self) -> tuple[datetime, bool]:
        """What decides which of two values counts, in every store the same."""
        return datetime.fromisoformat(self.time), self.protected


def can_be_protected(alias: str) -> bool:
    """Return whether people decide where an alias points: not kept, by epochs and metrics."""
    return alias != BEST and not is_automatic(alias)


def protection_of(bucket: Bucket, alias: str) -> Protection | None:
    """Return what the store says about an alias, None for nothing; raises Damaged."""

    def read() -> Protection:
        key = _key(alias)
        return _checked(unseal(read_bounded(bucket, key, _MOST), key), key)

    try:
        found = again_if_damaged(read)
    except KeyNotFound:
        return None
    return found if found.alias == alias else None  # a disk that ignores case has another one


def protections(bucket: Bucket) -> Iterator[Protection]:
    """Yield what the store says about aliases, by name, protected or no longer.

    A DamageWarning names a value that cannot be read. Its alias counts as protected.
    """
    aliases = _listed(bucket)
    for alias, found in zip(aliases, _all_of(bucket, aliases), strict=True):
        if isinstance(found, Damaged):
            again = f"To write it again: kept protect {alias}"
            warn(f"alias {alias}", [f"{found}. It counts as protected. {again}"])
            yield Protection(alias, protected=True, time=time_text(_LONG_AGO), by="unknown")
        elif found is not None:
            yield found


def damaged_protections(bucket: Bucket) -> Iterator[tuple[str, str, Damaged]]:
    """Yield each alias whose value cannot be read, with the key and the reason."""
    aliases = _listed(bucket)
    for alias, found in zip(aliases, _all_of(bucket, aliases), strict=True):
        if isinstance(found, Damaged):
            yield alias, _key(alias), found


def has_protections(bucket: Bucket) -> bool:
    """Return whether an alias is or was protected: then the store has EVENTS_FORMAT."""
    return bool(_listed(bucket))


def protected_again(bucket: Bucket) -> Iterator[tuple[str, bytes, str]]:
    """Yield each damaged key, the value with which a repair replaces it, and why: for safety."""
    for alias, key, error in damaged_protections(bucket):
        value = Protection(alias, protected=True, time=_now(), by=actor())
        yield key, seal(value.value()), f"{alias} counts as protected: {error}"


def protected_among(bucket: Bucket, aliases: Iterable[str]) -> list[str]:
    """Return which of the aliases are protected; costs a request for each that could be.

    One whose value is damaged counts as protected.
    """
    asked = [alias for alias in aliases if can_be_protected(alias)]
    answers = zip(asked, _all_of(bucket, asked), strict=True)
    return [a for a, found in answers if isinstance(found, Damaged) or (found and found.protected)]


def refuse_protected(bucket: Bucket, aliases: Iterable[str], target: str | None) -> None:
    """Raise AliasProtected if one of the aliases is protected.

    target is the version on which it is put, for messages; None to remove it. Call it before
    anything is stored, and again before the record that moves the aliases.
    """
    found = protected_among(bucket, aliases)
    if found:
        move = f"To move it: kept promote {target} {found[0]}. " if target else ""
        raise AliasProtected(
            f"The alias {found[0]} is protected in {bucket.location}: only a promotion moves it, "
            f"and nothing removes it. {move}To end the protection: kept protect --remove {found[0]}"
        )


def check_deletable(bucket: Bucket, name: str, record: VersionRecord) -> None:
    """Raise AliasProtected if a version has a protected alias."""
    found = protected_among(bucket, record.aliases)
    if found:
        raise AliasProtected(
            f"{name}:v{record.index} has the alias {found[0]}, which is protected in "
            f"{bucket.location}, so nothing deletes it. Promote another version first: kept "
            f"promote {name}:vN {found[0]}. To end the protection: kept protect --remove {found[0]}"
        )


def withheld_text(name: str, aliases: Iterable[str], location: str) -> str:
    """Return the message that checkpoints of a run are stored without protected aliases."""
    names = list(aliases)
    return (
        f"checkpoints of {name} are stored without {', '.join(names)}, because {location} protects "
        f"that by now, and no run moves a protected alias. To move it: kept promote {name}:vN "
        f"{names[0]}"
    )


def check_protectable(aliases: Iterable[str]) -> None:
    """Raise InvalidName if one of the aliases cannot be protected."""
    for alias in aliases:
        if not can_be_protected(check_alias(alias)):
            raise InvalidName(
                f"{alias!r} cannot be protected: kept itself moves it with each checkpoint. "
                f"Protect an alias of your own, such as prod. Received: {alias!r}"
            )


def protect(bucket: Bucket, aliases: Sequence[str]) -> None:
    """Protect aliases in all artifacts, or none of them; see Store.protect."""
    check_protectable(aliases)
    for alias in aliases:
        if not protected_among(bucket, [alias]) or _is_damaged(bucket, alias):
            raise_format(bucket, EVENTS_FORMAT)  # an older kept would move the alias
            _write(bucket, alias, protected=True)


def unprotect(bucket: Bucket, aliases: Sequence[str]) -> None:
    """End the protection of aliases, or of none of them; see Store.unprotect."""
    guarded = protected_among(bucket, map(check_alias, aliases))
    for alias in aliases:
        if alias not in guarded:
            names = ", ".join(found.alias for found in protections(bucket) if found.protected)
            raise NotFound(
                f"The alias {alias!r} is not protected in {bucket.location}. Protected: "
                f"{names or 'none'}."
            )
    for alias in guarded:
        _write(bucket, alias, protected=False)


def protected_since(bucket: Bucket, aliases: Iterable[str]) -> dict[str, datetime]:
    """Return which of the aliases are protected, and since when; see protected_among."""
    asked = [alias for alias in aliases if can_be_protected(alias)]
    found = {}
    for alias, value in zip(asked, _all_of(bucket, asked), strict=True):
        if isinstance(value, Damaged):
            found[alias] = _LONG_AGO
        elif value is not None and value.protected:
            found[alias] = value.began
    return found


def take_protection(bucket: Bucket, found: Protection) -> str | None:
    """Take over what another store says about an alias, if that is later; return a note of it."""
    try:
        own = protection_of(bucket, found.alias)
    except Damaged:
        own = None
    merged = _merged(own, found) if own else found
    if merged == own or (own is None and not found.protected):
        return None
    raise_format(bucket, EVENTS_FORMAT)
    _put(bucket, merged)
    if own is not None and own.protected == merged.protected:
        return None
    state = "protected" if merged.protected else "no longer protected"
    return f"the alias {found.alias} is {state} in {bucket.location}, too"


def _merged(own: Protection, found: Protection) -> Protection:
    """Return the later of two values, with what both say of the time before.

    The result is the same in each order. So stores agree after copies in both directions.
    """
    later = max(own, found, key=lambda each: each.moment)
    if not later.protected:
        return later
    broken, last = max(own.broken, found.broken), later.moment[0]
    values = [each for each in (own, found) if each.protected]
    moments = [moment for each in values for moment in (each.began, each.moment[0])]
    began = min((moment for moment in moments if moment >= broken), default=last)
    return later._replace(
        since=time_text(began) if began != last else None,
        ended=time_text(broken) if broken != _LONG_AGO else None,
    )


def _write(bucket: Bucket, alias: str, *, protected: bool) -> None:
    before = _read(bucket, alias)
    is_again = protected and isinstance(before, Protection) and not before.protected
    ended = before.time if is_again and isinstance(before, Protection) else None
    _put(bucket, Protection(alias, protected, _now(), actor(), ended=ended))


def _put(bucket: Bucket, found: Protection) -> None:
    bucket.put(_key(found.alias), [seal(found.value())])


def _now() -> str:
    return time_text(datetime.now(UTC))


def _listed(bucket: Bucket) -> list[str]:
    return [match[1] for key in bucket.keys(_ROOT) if (match := _KEY.fullmatch(key))]


def _key(alias: str) -> str:
    return f"{_ROOT}{alias}.json"


def _is_damaged(bucket: Bucket, alias: str) -> bool:
    return isinstance(_read(bucket, alias), Damaged)


def _all_of(bucket: Bucket, aliases: list[str]) -> Iterable[Protection | Damaged | None]:
    return list(mapped(lambda alias: _read(bucket, alias), aliases, bucket.concurrency))


def _read(bucket: Bucket, alias: str) -> Protection | Damaged | None:
    try:
        return protection_of(bucket, alias)
    except Damaged as error:
        return error


def _checked(value: Json, key: str) -> Protection:
    try:
        match value:
            case {"alias": str(alias), "protected": bool(is_on), "time": time, "by": str(by)}:
                since, ended = value.get("since"), value.get("ended")
                for moment in (time, since or time, ended or time):
                    check_moment(moment)
                if is_word(alias):
                    return Protection(alias, is_on, time, by, since, ended)
    except ValueError:
        pass
    raise Damaged(f"{key} is damaged: it says of no alias whether it is protected")
