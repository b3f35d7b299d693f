"""kept watch: runs a command, or calls a server, for what happens in a store."""

from __future__ import annotations

import contextlib
import gc
import re
import signal
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kept.cli.common import opened
from kept.cli.completion import artifact_names
from kept.cli.output import clean
from kept.cli.watch_target import Choice, make_target, seconds
from kept.names import check_name
from kept.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from kept.store.store import Store
    from kept.watch.cursor import Cursor
    from kept.watch.events import Wanted
    from kept.watch.target import Stop, Target

_HELP = """Run a command or call a server for each event of a store.

\b
kept watch                                     prints what happens from now on
kept watch mnist --on commit --run './eval.sh' runs a command for each new version
kept watch 'run_*' --on alias --alias prod --webhook https://host/hook
kept watch --on mirrored --notify slack://…    sends messages by Apprise

NAME is an artifact, or a pattern such as 'run_*'; without it all are watched. The events:

\b
commit    a new version
alias     an alias was moved or removed, except latest and epoch_<n>
metric    metrics were logged for a version
deleted   a version was deleted
mirrored  a mirror has confirmed a version

A command gets the event in its environment (KEPT_EVENT as JSON, KEPT_EVENT_ID, KEPT_REFERENCE,
KEPT_STORE) and as JSON on its standard input. A webhook gets the JSON by POST. It is signed if
KEPT_WEBHOOK_SECRET or --secret-file has a secret. docs/automations.md has the details.

The watcher notes durably what it has sent. Kill it, and start the same command again: nothing is
missed. An event that may have been sent before is marked: KEPT_REDELIVERY=1, or the header
kept-redelivery: true. A new watcher begins with what happens from now on, or --from-start.

A watcher only reads the store. SIGTERM and Ctrl-C end it after the current event.
"""
_WAIT = 2.0, 30.0  # seconds between two looks into a folder, and into object storage
_PATTERN = re.compile(r"[A-Za-z0-9._*?!\[\]-]+")
_COLLECTIONS = 700, 10, 10  # as Python begins; main.py turns them off, because other verbs end soon


class _Options(NamedTuple):
    name: str | None
    kinds: str
    alias: str | None
    watcher: str | None
    state: str | None
    from_start: bool
    once: bool
    restart: tuple[str, ...]
    interval: str | None
    choice: Choice


@click.command(help=_HELP, short_help="Run a command or call a server for each event.")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=artifact_names)
@click.option(
    "--on", "kinds", metavar="KINDS", default="commit,alias,metric,deleted", show_default=True,
    help="Which events, separated by commas.",
)  # fmt: skip
@click.option("--alias", metavar="ALIAS", help="Of alias events, only those of this one or glob.")
@click.option("--run", "command", metavar="COMMAND", help="Run this line in the shell.")
@click.option("--webhook", metavar="URL", help="Post to this URL.")
@click.option("--notify", metavar="URL", help="Send a message to this URL of Apprise.")
@click.option(
    "--secret-file", metavar="FILE", help="The secret that signs webhooks; see KEPT_WEBHOOK_SECRET."
)
@click.option("--name", "watcher", metavar="WATCHER", help="The name of this watcher's cursor.")
@click.option("--state", metavar="FILE", help="The file of the cursor, instead of its default.")
@click.option("--from-start", is_flag=True, help="A new watcher also sends what happened before.")
@click.option("--once", is_flag=True, help="Send what has happened, and end.")
@click.option(
    "--restart", metavar="ARTIFACT", multiple=True,
    help="Forget what was sent of this artifact, and watch it from now on.",
)  # fmt: skip
@click.option("--interval", metavar="TIME", help="Between two looks. Default: 2s; 30s if remote.")
@click.option(
    "--attempts", metavar="N", type=click.IntRange(1),
    help="Give an event up after N failures. Default: 5; for webhooks never.",
)  # fmt: skip
@click.option("--timeout", metavar="TIME", help="How long a command or a request may take.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print each event that was sent as a line of JSON."
)
@click.pass_obj
def watch(location: str | None, /, **given: Any) -> None:
    """Run a command or call a server for each event of a store."""
    from kept.watch.target import Stop

    choice = Choice(**{key: given.pop(key) for key in Choice._fields})
    options = _Options(**given, choice=choice)
    if len(choice.given) > 1:
        raise click.UsageError("Pass one of --run, --webhook and --notify; start two watchers.")
    wanted = _wanted(options)
    gc.set_threshold(*_COLLECTIONS)
    stop = Stop()
    with _signals(stop) as interrupted:
        store = opened(location, may_be_new=not options.once)
        if not store.exists:  # all of its events are new
            options = options._replace(from_start=True)
        if found := _existing(store, location, options, stop):
            _watch(found, options, wanted, stop)
        if interrupted:
            raise KeyboardInterrupt


def _watch(store: Store, options: _Options, wanted: Wanted, stop: Stop) -> None:
    from kept.watch.cursor import held
    from kept.watch.feed import Feed
    from kept.watch.watcher import Watcher

    _check_restart(store, options, wanted)
    target = make_target(store, options.choice, stop)
    with held(store, options.name or "*", _path(store, options, target)) as cursor:
        _announce(store, options, cursor)
        following = Watcher(Feed(store, wanted), cursor, target, stop)
        following.begin(from_start=options.from_start, restart=options.restart)
        if options.once:
            following.once()
        else:
            following.run(_interval(store, options))
    counts = following.counts
    said = f"kept watch: {counted(counts.sent, 'event')} sent"
    said += f", {counts.given_up:,} given up" if counts.given_up else ""
    said += f", {counted(counts.waiting, 'artifact')} with events to send" if counts.waiting else ""
    click.echo(said, err=True)
    target.check()
    if options.once and not counts.is_complete:
        click.get_current_context().exit(1)


def _wanted(options: _Options) -> Wanted:
    """Return which events are wanted; raises UsageError."""
    from kept.names import suggestion
    from kept.watch.events import KINDS, Wanted

    if options.name is not None and not _PATTERN.fullmatch(options.name):
        raise click.UsageError(
            "NAME is an artifact, or a pattern with * and ?, and no version. "
            f"Received: {options.name!r}"
        )
    kinds = frozenset(filter(None, (kind.strip() for kind in options.kinds.split(","))))
    for kind in sorted(kinds - set(KINDS)):
        raise click.UsageError(
            f"--on takes {', '.join(KINDS)}, separated by commas. Received: {kind!r}"
            f"{suggestion(kind, KINDS)}"
        )
    if not kinds:
        raise click.UsageError(f"--on names no event. Pass some of {', '.join(KINDS)}.")
    return Wanted(kinds, options.name, options.alias)


def _check_restart(store: Store, options: _Options, wanted: Wanted) -> None:
    """Raise UsageError for a --restart of what is not watched."""
    from kept.names import suggestion

    if not options.restart:
        return
    names = list(filter(wanted.has_artifact, store.logs.names()))
    for name in options.restart:
        if name not in names:
            raise click.UsageError(
                f"--restart takes an artifact that is watched. Received: {name!r}"
                f"{suggestion(name, names)}"
            )


def _existing(store: Store, location: str | None, options: _Options, stop: Stop) -> Store | None:
    """Return the store once it exists; None if the watcher has to end before."""
    if not store.exists:
        click.echo(f"kept watch: waiting for the first version in {store.location}", err=True)
    while not store.exists and not stop.is_set:
        stop.wait(_interval(store, options))
        store = opened(location, may_be_new=True)
    return store if store.exists else None


def _interval(store: Store, options: _Options) -> float:
    if options.interval is None:
        return _WAIT[store.bucket.is_remote]
    return seconds(options.interval, "--interval")


def _path(store: Store, options: _Options, target: Target) -> str | None:
    """Return the file of the cursor; None for events that are only printed."""
    from kept.watch.cursor import default_name, default_path

    if options.state is not None:
        return options.state
    if options.watcher is not None:
        return default_path(store, check_name(options.watcher, "The name of a watcher"))
    if not options.choice.given:
        return None
    same = [options.name, options.kinds, options.alias, options.choice.given]
    return default_path(store, default_name(target.kind, *same))


def _announce(store: Store, options: _Options, cursor: Cursor) -> None:
    """Print what is watched, and from where on."""
    what = options.name or "all artifacts"
    if not cursor.is_new:
        begins = "continues after the last event that was sent"
    elif options.from_start:
        begins = "begins with the first event"
    else:
        begins = "begins with what happens from now on"
    text = f"kept watch: watching {what} in {store.location} ({options.kinds}), {begins}."
    text += f" Cursor: {cursor.path}" if cursor.path else ""
    click.echo(clean(text), err=True)
    _announce_names(store, options)


def _announce_names(store: Store, options: _Options) -> None:
    """Print that no artifact has the given name so far: it may be a typing error."""
    from fnmatch import fnmatchcase

    from kept.names import suggestion

    names = list(store.logs.names()) if options.name is not None else []
    if names and not any(fnmatchcase(name, str(options.name)) for name in names):
        hint = suggestion(str(options.name), names)
        click.echo(clean(f"kept watch: no artifact is {options.name!r} so far{hint}"), err=True)


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[list[int]]:
    """Let SIGTERM and Ctrl-C end the watcher; yield a list that is not empty after Ctrl-C.

    A second signal ends the process at once.
    """
    interrupted: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, before[number])
        stop.set()
        if number == signal.SIGINT:
            interrupted.append(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
