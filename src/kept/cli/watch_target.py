"""The targets of kept watch, from its options; each event that was sent is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import click

from kept.cli.output import clean
from kept.errors import InvalidInput, KeptError

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.watch.events import Happening
    from kept.watch.target import Outcome, Stop, Target


class Choice(NamedTuple):
    """The options that say where events go; at most one of the first three is given."""

    command: str | None
    webhook: str | None
    notify: str | None
    secret_file: str | None
    attempts: int | None
    timeout: str | None
    as_json: bool

    @property
    def given(self) -> list[tuple[str, str]]:
        """The kinds and texts of the given targets."""
        each = {"run": self.command, "webhook": self.webhook, "notify": self.notify}
        return [(kind, text) for kind, text in each.items() if text is not None]


def make_target(store: Store, choice: Choice, stop: Stop) -> Printed:
    """Return where events go; raises InvalidInput or OSError."""
    from kept.watch.command import Command
    from kept.watch.cursor import store_id
    from kept.watch.secrets import secrets_in

    place = store.location, store_id(store)
    timeout = None if choice.timeout is None else seconds(choice.timeout, "--timeout")
    found: Target | None = None
    if choice.command is not None:
        found = Command(choice.command, place, stop, timeout, shows=not choice.as_json)
    elif choice.webhook is not None:
        from kept.watch.webhook import Webhook

        keys = secrets_in(choice.secret_file)
        found = Webhook(_text_in(choice.webhook), keys, place, timeout, stop)
    elif choice.notify is not None:
        from kept.watch.notify import Notification

        found = Notification(_text_in(choice.notify), place)
    if found is not None and choice.attempts is not None:
        found.attempts = choice.attempts
    return Printed(found, place, stop, as_json=choice.as_json)


def _text_in(url: str) -> str:
    """Return a URL, or the one in a file: the arguments of a process are no secret."""
    if not url.startswith("@"):
        return url
    try:
        with open(url[1:], encoding="utf-8") as file:
            return file.read().strip()
    except UnicodeDecodeError:
        raise InvalidInput(f"{url[1:]} holds no URL: it is no text in UTF-8.") from None


class Printed:
    """Prints each event that its target has taken; without a target each one."""

    def __init__(
        self, target: Target | None, place: tuple[str, str], stop: Stop, *, as_json: bool
    ) -> None:
        self._target, self._place, self._stop = target, place, stop
        self._as_json = as_json
        self._failure: OSError | None = None
        self.kind = target.kind if target else "show"
        self.attempts = target.attempts if target else None

    def send(self, happening: Happening, *, again: bool) -> Outcome:
        """See Target. If the event cannot be printed, the watcher ends.

        An event that the target has taken counts as sent all the same.
        """
        from kept.watch.events import body_of
        from kept.watch.target import Outcome, Result

        outcome = Outcome(Result.SENT)
        if self._target is not None:
            outcome = self._target.send(happening, again=again)
        if outcome.result is not Result.SENT:
            return outcome
        as_json = self._as_json
        try:
            click.echo(
                _ascii(body_of(happening, *self._place)) if as_json else clean(happening.text())
            )
        except OSError as error:
            self._failure = error
            self._stop.set()
            return outcome if self._target is not None else Outcome(Result.STOPPED)
        return outcome

    def check(self) -> None:
        """Raise BrokenPipeError if the reader of stdout has ended, KeptError if it is full."""
        if isinstance(self._failure, BrokenPipeError):
            raise self._failure
        if self._failure is not None:
            raise KeptError(
                f"stdout cannot be written: {self._failure.strerror}. The watcher has ended. Free "
                "the disk, or pass another file for stdout, and start it again: it continues."
            )


def _ascii(document: bytes) -> str:
    return json.dumps(json.loads(document)).replace("\x7f", "\\u007f")


def seconds(text: str, option: str) -> float:
    """Return a time such as "10s" in seconds; raises InvalidInput."""
    from kept.units import parse_span

    try:
        found = parse_span(float(text), option).total_seconds()
    except ValueError:  # no plain number
        found = parse_span(text, option).total_seconds()
    if not found:
        raise InvalidInput(f"{option} is a time above 0, such as '10s'. Received: {text!r}")
    return found
