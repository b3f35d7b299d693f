"""What an event of a log says, in words: `v7 committed, 3.4 MB, best (was v5)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from kept.store.log.events import is_repaired
from kept.units import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kept.store.encoding import Json
    from kept.store.log.events import Event

_MOST_NAMED = 5  # versions, by their numbers
# alias -> the version that had it before; without an alias if damage leaves that open
Holders = Mapping[str, "int | None"]


class Worded(NamedTuple):
    """One change that an event states."""

    action: str
    text: str
    details: dict[str, Json]


def worded(event: Event, before: Holders) -> Iterator[Worded]:
    """Yield the changes that an event states; before says where the aliases that it moves were."""
    yield from _KINDS[event["event"]](event, before)


def _version(event: Event, before: Holders) -> Iterator[Worded]:
    index = event["index"]
    moves = _moves(dict.fromkeys(event["aliases"], index), before)
    details = {"version": index, "size": event["size"], "digest": event["digest"], **moves}
    if is_repaired(event):
        yield Worded("repair", f"v{index} was lost; a repair wrote its record again", details)
        return
    how = "copied as a deleted version" if event.get("deleted") else "committed"
    parts = [f"v{index} {how}", size_text(event["size"]), *_alias_texts(event["aliases"], before)]
    if "expires" in event:
        parts.append(f"expires {event['expires']}")
    yield Worded("version", ", ".join(parts), details)


def _alias(event: Event, before: Holders) -> Iterator[Worded]:
    if lost := event.get("lost"):
        yield Worded("repair", f"{_named(lost)} in no record; a repair marked that", {"lost": lost})
    if "expires" in event:
        index, moment = event["index"], event["expires"]
        text = f"v{index} expires {moment}" if moment else f"v{index} no longer expires"
        yield Worded("ttl", text, {"version": index, "expires": moment})
    if "moved_from" in event:
        yield _moved_from(event)
    moved = event["aliases"]
    if "promotion" in event:
        yield from _promotion(event, before)
    elif "metadata" in event and moved:
        index = next(iter(moved.values()))
        text = ", ".join([f"v{index} logged again, the same content", *_alias_texts(moved, before)])
        yield Worded("repeat", text, {"version": index, **_moves(moved, before)})
    else:
        for alias, index in moved.items():
            yield _moved(alias, index, before)


def _moved(alias: str, index: int | None, before: Holders) -> Worded:
    was = before.get(alias)
    details = {"alias": alias, "version": index, **_known_was(alias, before)}
    if index is None:
        from_where = "" if was is None else f" from v{was}"
        return Worded("alias", f"{alias} removed{from_where}", details)
    return Worded("alias", f"{alias} put on v{index}{_was(was, index)}", details)


def _promotion(event: Event, before: Holders) -> Iterator[Worded]:
    promotion = event["promotion"]
    is_rollback = promotion.get("action") == "rollback"
    if "was" in promotion:  # what the decision was made on
        before = dict.fromkeys(event["aliases"], promotion["was"])
    for alias, index in event["aliases"].items():
        was = before.get(alias)
        verb = "rolled back" if is_rollback else "promoted"
        text = f"{alias} {verb} to v{index}{_was(was, index)}"
        for key, words in (("if", "if "), ("from", "from "), ("message", "")):
            if value := promotion.get(key):
                text += f": {value}" if key == "message" else f", {words}{value}"
        details = {"alias": alias, "version": index, **_known_was(alias, before)}
        details |= {k: v for k, v in promotion.items() if k not in ("action", "was")}
        yield Worded("rollback" if is_rollback else "promote", text, details)


def _deletion(event: Event, _: Holders) -> Iterator[Worded]:
    index, action = event["index"], event["event"]
    reason = event.get("reason")
    by_rule = f" by a rule: {reason}" if reason is not None else ""
    details = {"version": index} | ({"reason": reason} if reason is not None else {})
    yield Worded(action, f"v{index} {action}d{by_rule}", details)


def _several(event: Event, _: Holders) -> Iterator[Worded]:
    indexes, target = event["indexes"], event.get("moved_to")
    details = {"versions": indexes} | ({"moved_to": target} if target else {})
    if target:
        yield Worded("move", f"moved to {target}: {_named(indexes)}", details)
    elif "moved_from" in event and event["event"] == "restore":
        yield _moved_from(event)
    else:
        yield Worded(event["event"], f"artifact {event['event']}d: {_named(indexes)}", details)


def _moved_from(event: Event) -> Worded:
    """Return the change that gives the artifact its name; the old name is removed after it."""
    old = event["moved_from"]
    return Worded("move", f"moved from {old}", {"moved_from": old})


def _metrics(event: Event, before: Holders) -> Iterator[Worded]:
    index, aliases = event["index"], event.get("aliases", {})
    values = ", ".join(
        f"{name}={_number(value)}" for name, value in sorted(event["metrics"].items())
    )
    where = f" on {event['dataset']}" if "dataset" in event else ""
    how = f" by the evaluation {event['evaluation']}" if "evaluation" in event else ""
    keys = [key for key in ("metrics", "dataset", "evaluation") if key in event]
    details: dict[str, Json] = {key: event[key] for key in keys}
    text = ", ".join([f"v{index} {values}{where}{how}", *_placed(aliases, before)])
    yield Worded("metrics", text, {"version": index, **details, **_moves(aliases, before)})


def _update(event: Event, _: Holders) -> Iterator[Worded]:
    index = event["index"]
    if tags := event.get("tags"):
        text = " ".join(f"{'+' if has else '-'}{tag}" for tag, has in sorted(tags.items()))
        yield Worded("tag", f"v{index} tags: {text}", {"version": index, "tags": tags})
    if "description" in event:
        text = event["description"]
        said = f"described: {text}" if text else "no longer described"
        yield Worded("description", f"v{index} {said}", {"version": index, "description": text})
    if "note" in event:
        text = event["note"]
        yield Worded("note", f"v{index} note: {text}", {"version": index, "note": text})
    if values := event.get("set"):
        text = ", ".join(f"{key}={_number(value)}" for key, value in sorted(values.items()))
        yield Worded("metadata", f"v{index} metadata: {text}", {"version": index, "set": values})


def _rule(event: Event, before: Holders) -> Iterator[Worded]:
    best, aliases = event["best"], event.get("aliases", {})
    text = f"best follows {best['monitor']} ({best['mode']})" if best else "best follows the runs"
    text = ", ".join([text, *_placed(aliases, before)])
    yield Worded("rule", text, {"best": best, **_moves(aliases, before)})


def _alias_texts(aliases: Iterable[str], before: Holders) -> Iterator[str]:
    for alias in aliases:
        was = before.get(alias)
        yield alias if was is None else f"{alias} (was v{was})"


def _placed(aliases: Mapping[str, int | None], before: Holders) -> Iterator[str]:
    for alias, index in aliases.items():
        yield _moved(alias, index, before).text


def _moves(aliases: Mapping[str, int | None], before: Holders) -> dict[str, Json]:
    """Return the details about moved aliases: the version of each, and the one it was on."""
    if not aliases:
        return {}
    return {
        "aliases": dict(aliases),
        "was": {alias: before[alias] for alias in aliases if alias in before},
    }


def _known_was(alias: str, before: Holders) -> dict[str, Json]:
    return {"was": before[alias]} if alias in before else {}


def _was(was: int | None, index: int | None) -> str:
    if was is None:
        return ""
    return ", as before" if was == index else f" (was v{was})"


def _named(indexes: list[int]) -> str:
    """Return v1, v2, or for many: 12 versions, v1 to v40."""
    if len(indexes) > _MOST_NAMED:
        return f"{len(indexes)} versions, v{min(indexes)} to v{max(indexes)}"
    return ", ".join(f"v{index}" for index in indexes) or "no version"


def _number(value: Json) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_KINDS: dict[str, Callable[[Event, Holders], Iterator[Worded]]] = {
    "version": _version,
    "alias": _alias,
    "delete": _deletion,
    "undelete": _deletion,
    "metrics": _metrics,
    "update": _update,
    "remove": _several,
    "restore": _several,
    "rule": _rule,
}
