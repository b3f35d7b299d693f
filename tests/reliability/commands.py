"""The commands of kept, run in this process, and what is known of each."""

from __future__ import annotations

import os
import re
import traceback
from typing import TYPE_CHECKING, NamedTuple

from click.testing import CliRunner

from kept.cli.main import cli
from tests.reliability.cases import Hang, limited

if TYPE_CHECKING:
    from tests.reliability.subjects import Subject

HANG, TRACEBACK = -1, -2


class Answer(NamedTuple):
    """How a command ended: its exit code, or HANG or TRACEBACK, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def kept(*args: str, store: str = "store") -> Answer:
    """Run the command, by default on the store in ./store."""
    runner = CliRunner()
    try:
        with limited():
            result = runner.invoke(cli, args, prog_name="kept", env={"KEPT_STORE": store})
    except Hang:
        return Answer(HANG, "", "no end")
    if isinstance(result.exception, Hang):
        return Answer(HANG, result.stdout, "no end")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        lines = traceback.format_exception(result.exception)
        return Answer(TRACEBACK, result.stdout, "".join(lines[-4:]))
    return Answer(result.exit_code, result.stdout, result.stderr)


def reading(subject: Subject) -> list[tuple[str, ...]]:
    """Return the commands that only show something; they print the same for the same store."""
    names = sorted({reference.partition(":")[0] for reference in subject.contents})
    return [
        ("ls",), ("ls", "--json"),
        *(("ls", name, "--json") for name in names),
        ("ls", names[0]), ("ls", names[0], "--all", "--json"),
        *(("show", reference, "--json") for reference in subject.contents),
        *(("show", alias, "--json") for alias in subject.aliases),
        ("du",), ("du", names[0], "--json"),
        ("prune", names[0], "--keep-last", "1", "--dry-run", "--json"),
        ("sync", "--status", "--json"),
    ]  # fmt: skip


# They show sizes of files, which damage changes rightly.
SIZES = ("du", "gc")


def changing(subject: Subject) -> list[tuple[str, ...]]:
    """Return the commands that change the store, or read it to make another one."""
    names = sorted({reference.partition(":")[0] for reference in subject.contents})
    of_first = [r for r in subject.contents if r.startswith(f"{names[0]}:")]
    return [
        ("gc", "--grace", "0s"),
        ("put", names[0], "new.txt", "same.txt"),
        ("rm", of_first[-1], "--yes", "--force"),
        ("alias", of_first[0], "another"),
        ("ttl", of_first[0], "90d"),
        ("compact",),
        ("sync", "copy"),
        *(("undelete", reference) for reference in subject.deleted[:1]),
    ]


def same_place(text: str) -> str:
    """Return a text without the folder of the store, which differs for each case."""
    return re.sub(re.escape(os.getcwd()), "…", text)
