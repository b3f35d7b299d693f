"""Sends what happens in a store to a target: each event at least once, in order per artifact."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kept.errors import Damaged, StoreReplaced, Unreachable
from kept.progress import say
from kept.watch import renames
from kept.watch.cursor import Position
from kept.watch.renames import Copying, Waits
from kept.watch.target import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.receipts import Receipt
    from kept.watch.cursor import Cursor
    from kept.watch.events import Happening
    from kept.watch.feed import Feed, Step
    from kept.watch.target import Outcome, Stop, Target

_VARYING = re.compile(r"0x[0-9a-f]+|(?<![\w.:])\d[\d.]*(?= ?m?s\b)")  # addresses and seconds
_SHARE = 4  # a pause is at least this many times as long as the reading before it
_MOST_WAITS = 6  # a call of once waits for renames as long as that many logs become steady
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds between attempts to send an event


@dataclass
class Counts:
    """What a watcher has done."""

    sent: int = 0
    given_up: int = 0
    waiting: int = 0  # artifacts whose next event could not be read or sent so far
    unread: bool = False  # the store could not be read

    @property
    def is_complete(self) -> bool:
        """Whether everything that has happened was sent."""
        return not (self.given_up or self.waiting or self.unread)


class Watcher:
    """Follows a store. Reads it only, so no run can be harmed."""

    def __init__(self, feed: Feed, cursor: Cursor, target: Target, stop: Stop) -> None:
        self._feed, self._cursor, self._target, self._stop = feed, cursor, target, stop
        self.counts = Counts()
        self._looks_again = False
        self._steps = 0  # records that are done
        self._sending = 0.0  # seconds that the target took in this look
        self._not_before: dict[str, float] = {}  # artifact -> when to try it again
        self._said: dict[str, str] = {}  # what is wrong with an artifact, or with the store
        self._left: set[str] = set()  # artifacts that could not be read to the end in this look

    def begin(self, *, from_start: bool, restart: Sequence[str] = ()) -> None:
        """Take the position of a new watcher: after what has happened, or before all of it.

        The end of a watcher that was stopped before is its position, so this does nothing then,
        except for the artifacts to restart.
        """
        self._begin(from_start=from_start)
        for name in restart:
            self._cursor.positions[name] = Position() if from_start else self._feed.end(name)
            for mirror, versions in (self._cursor.mirrored or {}).items():
                now = -1 if from_start else self._confirmed().get(mirror, {}).get(name, -1)
                versions[name] = now
        if restart:
            self._cursor.save()

    def _begin(self, *, from_start: bool) -> None:
        cursor, before = self._cursor, self._cursor.mirrored
        from_start = from_start and cursor.is_new
        if not self._feed.has_mirrors:
            cursor.mirrored = None  # what they confirm meanwhile is not sent later
        elif before is None:
            cursor.mirrored = {} if from_start else self._confirmed()
        if cursor.is_new and not from_start:
            cursor.positions = {name: self._feed.end(name) for name in self._feed.names()}
        if cursor.is_new or cursor.mirrored != before:
            cursor.save()

    def _confirmed(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for receipt in self._feed.confirmed():
            found.setdefault(receipt.destination, {})[receipt.artifact] = receipt.version
        return found

    def run(self, interval: float) -> None:
        """Look again and again, with pauses of some seconds, until the watcher has to stop.

        Raises StoreReplaced, or what else another look does not repair.
        """
        self._looks_again = True
        while not self._stop.is_set:
            begun, self._sending = time.monotonic(), 0.0
            self.look()
            now = time.monotonic()
            pause = max(interval, _SHARE * (now - begun - self._sending))
            due = min(self._not_before.values(), default=float("inf")) - now
            self._stop.wait(max(min(pause, due), 0.0))

    def once(self) -> None:
        """Send what has happened so far; wait if an artifact may be in the middle of a rename.

        The wait ends if the store cannot be read, or after some time: the next call continues.
        """
        self.look()
        until = time.monotonic() + _MOST_WAITS * renames.STEADY
        while self._feed.renames.growing and not (self._stop.is_set or self.counts.unread):
            if time.monotonic() > until:
                return
            self._stop.wait(renames.STEADY / 10)
            self.look()

    def look(self) -> None:
        """Send what has happened since the last look."""
        self._left.clear()
        self.counts.unread = False
        try:
            names = self._feed.names()
            self._send_logs(names)
            self._send_mirrored()
        except BrokenPipeError:
            raise  # no one reads what is printed
        except (Unreachable, OSError) as error:
            self.counts.unread = True
            self._notice("", f"the store cannot be read now: {error}")
        else:
            self._said.pop("", None)
        finally:
            self._cursor.settle()
        self.counts.waiting = len(self._left | self._not_before.keys())

    def _send_logs(self, names: list[str]) -> None:
        """Send the events of artifacts; one that waits for another one has its turn after it."""
        left = names
        while left:
            before = self._steps
            left = [name for name in left if self._may_send(name) and self._waits(name, names)]
            if self._steps == before:  # what they wait for was not sent
                self._left.update(left)
                return

    def _may_send(self, name: str) -> bool:
        if self._stop.is_set:
            return False
        if self._not_before.get(name, 0.0) > time.monotonic():
            return False
        self._not_before.pop(name, None)
        return True

    def _waits(self, name: str, names: list[str]) -> bool:
        """Send the events of an artifact; return whether it waits for another one."""
        try:
            self._send_log(name, names)
        except Copying:
            self._left.add(name)
        except Waits:
            return True
        except StoreReplaced:
            self._feed.check_store()
            self._leave(
                name,
                f"{name}: its log is not the one that was read: it was restored from an older "
                "copy, or resolved by kept sync. Its events wait; other artifacts continue. To "
                f"continue with what happens from now on, start this watcher once with --restart "
                f"{name}.",
            )
        except Damaged as error:
            self._leave(name, f"{name}: {error} Later events wait for that")
        return False

    def _leave(self, name: str, text: str) -> None:
        self._left.add(name)
        self._notice(name, text)

    def _send_log(self, name: str, names: list[str]) -> None:
        known = self._cursor.positions
        if name not in known:
            found = self._feed.renames.beginning(name, names, known)
            if found is None:
                return
            self._move_to(name, found)
        for step in self._feed.steps(name, known):
            if not self._send_step(name, step):
                return
        self._said.pop(name, None)

    def _send_step(self, name: str, step: Step) -> bool:
        """Send the events of one record; return whether all of them are done."""
        position = self._cursor.positions[name]
        left = [event for event in step.events if event.id not in position.sent]
        for event in left:
            if not self._send(event):
                return False
            position.sent.append(event.id)
        if step.moves_to and self._feed.wants(step.moves_to):
            self._hand_over(name, step.moves_to, step.end)
        self._move_to(name, step.end)
        return True

    def _hand_over(self, old: str, new: str, end: Position) -> None:
        """Let a new name continue where the old one ends."""
        cursor = self._cursor
        found = self._feed.renames.handed_over(old, new, end.record)
        before = cursor.positions.get(new, Position())
        ahead = found if found.record > before.record else before
        cursor.positions[new] = replace(ahead, moved_to="", first=end.first)
        for versions in (cursor.mirrored or {}).values():
            if old in versions:
                versions[new] = max(versions.get(new, -1), versions[old])

    def _move_to(self, name: str, position: Position) -> None:
        self._cursor.positions[name] = position
        self._cursor.is_changed = True
        self._steps += 1

    def _send_mirrored(self) -> None:
        known = self._cursor.mirrored
        if known is None:
            return
        for receipt in self._feed.confirmed():
            mirror = known.setdefault(receipt.destination, {})
            name = receipt.artifact
            if name not in self._cursor.positions or not self._may_send(name):
                continue
            found = self._feed.mirrored(receipt, mirror.get(name, -1))
            if found is None:
                continue
            for event in found:
                if not self._send(event):
                    break
                mirror[name] = event.version.index
            else:
                self._mirrored_to(mirror, receipt)

    def _mirrored_to(self, mirror: dict[str, int], receipt: Receipt) -> None:
        if mirror.get(receipt.artifact, -1) < receipt.version:  # the rest was deleted since
            mirror[receipt.artifact] = receipt.version
            self._cursor.is_changed = True

    def _send(self, event: Happening) -> bool:
        """Send an event; return whether it is done: sent, or given up."""
        if self._stop.is_set:
            return False
        again = self._cursor.begin(event.id)
        begun = time.monotonic()
        outcome = self._target.send(event, again=again)
        self._sending += time.monotonic() - begun
        if outcome.result is Result.SENT:
            self.counts.sent += 1
            if self._said.pop(event.artifact, None):
                _say(f"{event.reference} {event.kind} is sent now")
        elif outcome.result is Result.REFUSED:
            self._give_up(event, outcome)
        elif outcome.result is Result.STOPPED or not self._failed(event, outcome):
            return False
        self._cursor.end(event.id)
        return True

    def _failed(self, event: Happening, outcome: Outcome) -> bool:
        """Note a failed attempt; return whether the event is given up."""
        failed, most = self._cursor.fail(event.id), self._target.attempts
        if most is not None and failed >= most:
            self._give_up(event, outcome)
            return True
        pause = min(_FIRST_PAUSE * 2 ** min(failed - 1, 20), _LONGEST_PAUSE)
        pause = max(pause, outcome.after or 0.0)
        self._not_before[event.artifact] = time.monotonic() + pause
        when = f"in {pause:.0f} s" if self._looks_again else "by the next call"
        which = f" (attempt {failed} of {most})" if most is not None else ""
        self._notice(
            event.artifact,
            f"{event.reference} {event.kind}: {outcome.what}{which}. It is sent again {when}",
        )
        return False

    def _give_up(self, event: Happening, outcome: Outcome) -> None:
        self.counts.given_up += 1
        self._said.pop(event.artifact, None)
        _say(f"{event.reference} {event.kind} is given up: {outcome.what}")

    def _notice(self, subject: str, text: str) -> None:
        """Print what is wrong with an artifact, unless the last notice of it was about the same.

        How long something took, or is waited for, makes no other notice.
        """
        if self._said.get(subject) != (same := _VARYING.sub("#", text)):
            self._said[subject] = same
            _say(text)


def _say(text: str) -> None:
    """Print a line; what a server or a store has sent cannot steer a terminal."""
    say("kept watch: " + "".join(c if c.isprintable() else "?" for c in text))
