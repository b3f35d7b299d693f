"""Has a store in object storage lie, hang, forget and be shared, and counts what becomes of it.

`python -m tests.reliability.remote` runs all parts. A word such as `kills` names one of them, and
one with a colon selects cases of `faults`: `remote faults "put: LIST html"`. --given takes the
server of the environment (AWS_ENDPOINT_URL) instead of moto, --seconds=N is the length of a race.
--short and --some=N, the number of cases of `faults`, are as in other suites.
"""

from __future__ import annotations

import functools
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.reliability import cases, remote_buckets, remote_faults, subjects
from tests.reliability.cases import in_memory, run
from tests.reliability.remote_operations import OPERATIONS
from tests.reliability.remote_processes import Kill, Race, Silence
from tests.reliability.remote_store import Server, Template
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = ("silence", "races", "kills", "buckets", "faults")  # the longest cases first
SHORT = 25  # cases of faults
KILLS, SHORT_KILLS = 200, 10
SECONDS, SHORT_SECONDS = 200.0, 2.0  # of each race
AT_ONCE = 4  # cases wait for the proxy more than for a processor
RACES = ("two writers", "gc and prune", "sync")
COMMANDS = (
    ("ls",), ("show", "m"), ("get", "m", "got"), ("put", "m", "f"), ("verify",), ("gc",),
    ("prune", "m", "--keep-last", "2", "--yes"), ("rm", "m:v3", "--yes"), ("du",), ("compact",),
    ("sync", "copy"),
)  # fmt: skip


class Suite:
    """The cases that the options select."""

    def __init__(self, template: Template, options: list[str], total: Tally) -> None:
        self.template, self.total = template, total
        self.is_short = "--short" in options
        self.parts = [part for part in PARTS if part in options] or PARTS
        self.options = [option for option in options if option not in PARTS]
        values = dict(option.split("=", 1) for option in options if "=" in option)
        self.seconds = float(values.get("--seconds", SHORT_SECONDS if self.is_short else SECONDS))

    def cases(self) -> Iterator[Any]:
        """Yield the cases of all parts."""
        if "silence" in self.parts:
            yield from (Silence(words) for words in COMMANDS[: 1 if self.is_short else None])
        if "races" in self.parts:
            yield from (Race(kind, self.seconds) for kind in RACES)
        if "kills" in self.parts:
            yield from (Kill(n) for n in range(SHORT_KILLS if self.is_short else KILLS))
        if "buckets" in self.parts:
            yield from remote_buckets.cases()
        if "faults" in self.parts:
            every = sorted(remote_faults.cases(self.profiles()))
            if self.is_short:
                every = of_each(every, SHORT)
            yield from chosen(every, self.options, SHORT)

    def profiles(self) -> dict[str, dict[str, int]]:
        """Run each operation without a fault; return how often it makes each kind of request."""
        found: dict[str, dict[str, int]] = {}
        words = [option for option in self.options if not option.startswith("--")]
        names = [name for name in OPERATIONS if any(w.startswith(f"{name}:") for w in words)]
        profile = functools.partial(remote_faults.profile, self.template)
        for ended in run(profile, names or OPERATIONS):
            if ended.error:
                self.total.add("tracebacks", f"{ended.case}: {ended.error}")
            else:
                found[ended.case] = ended.result
        return found


def of_each(every: list[Any], most: int) -> list[Any]:
    """Return some cases: as many of each operation, and of each fault as far as possible."""
    chance, taken = random.Random(6), Counter[str]()
    left, found = chance.sample(every, len(every)), []
    while left and len(found) < most:
        case = min(left, key=lambda c: (taken[c.operation], taken[c.fault], taken[c.target]))
        taken.update((case.operation, case.fault, case.target))
        left.remove(case)
        found.append(case)
    return found


def worked(template: Template, case: Any, _: str) -> dict[str, Any]:
    """Run a case in its process."""
    result: dict[str, Any] = case.work(template)
    return result


def main(options: list[str]) -> Tally:
    server = Server(is_given="--given" in options)  # first: prepare takes the endpoint away
    subjects.prepare()
    total = Tally("remote", is_shown=True)
    with (
        server,
        tempfile.TemporaryDirectory(prefix="kept-remote-", dir=in_memory()) as folder,
    ):
        template = Template(Path(folder))
        suite = Suite(template, options, total)
        cases.LIMIT = 250.0 + suite.seconds
        total.take(run(functools.partial(worked, template), list(suite.cases()), jobs=AT_ONCE))
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
