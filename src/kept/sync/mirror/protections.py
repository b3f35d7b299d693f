"""Carries the list of protected aliases from one store to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.store.promotion.protected import protections, take_protection

if TYPE_CHECKING:
    from kept.store.promotion.protected import Protection
    from kept.store.store import Store


def carry_protections(source: Store, target: Store, done: set[Protection]) -> list[str]:
    """Give the target what the source says about aliases, if that is later; return notes.

    Call it before copying artifacts: the target then knows which moves of aliases may apply. Skips
    what is in done, and adds to it. A later call looks only at a source that costs no requests.
    """
    if done and source.bucket.is_remote:
        return []
    new = [found for found in protections(source.bucket) if found not in done]
    if new:
        target.create()
    notes = [take_protection(target.bucket, found) for found in new]
    done.update(new)
    return [note for note in notes if note is not None]
