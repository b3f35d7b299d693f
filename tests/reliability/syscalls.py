"""Lets every call of a command that touches the store fail once, or kills the process before it.

`python -m tests.reliability.syscalls` runs every call with every fault; with --short, some of them.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kept
from kept.errors import KeptError
from tests.helpers import tree
from tests.reliability import damage, subjects
from tests.reliability.cases import in_memory, run
from tests.reliability.commands import HANG, TRACEBACK, Answer
from tests.reliability.commands import kept as command
from tests.reliability.inject import FAULTS, KILL, STAYS, Injector
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from tests.reliability.subjects import Subject

NEW = {"new.txt": b"new " * 3000, "same.txt": b"the same in all"}
OLD = {"model.weights.h5": b"old", "notes.txt": b"old", "same.txt": b"old"}
COMMANDS: dict[str, tuple[str, ...]] = {
    "put": ("put", "a", "new.txt", "same.txt", "--alias", "fresh"),
    "get": ("get", "a:v4", "got"),
    "gc": ("gc", "--grace", "0s"),
    "compact": ("compact",),
    "sync": ("sync", "copy"),
    "undelete": ("undelete", "a:v5"),
    "rm": ("rm", "b:v2", "--yes"),
    "alias": ("alias", "a:v1", "fresh"),
    "first put": ("put", "brand-new", "new.txt", "same.txt"),
    "repair": ("repair", "--yes", "--from", "mirror"),
    "repair alone": ("repair", "--yes"),
}
# What is damaged before a repair; without a mirror, only what the store itself can mend.
BEFORE_REPAIR = {
    "repair": ("blob", "manifest"),
    "repair alone": ("record", "page", "kept.json", "gc list"),
}
KILLED = -9


class Case(NamedTuple):
    command: str
    at: int
    fault: str

    def __str__(self) -> str:
        return f"{self.command}: call {self.at}: {self.fault}"


class Run(NamedTuple):
    """How an injected command ended, and at which call."""

    answer: Answer
    hit: str
    calls: int


def injected(case: Case) -> Run:
    """Run the command in a child with the fault; the folders store, copy and got are watched."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reader)
            watched = (os.path.abspath(f) for f in ("store", "copy", "got"))
            injector = Injector(*watched, at=case.at, fault=case.fault)
            injector.install()
            answer = command(*COMMANDS[case.command])
            at, injector.at = injector.at, 0
            data = json.dumps([list(answer), injector.hit, len(injector.calls), at])
            os.write(writer, data.encode())
        finally:
            os._exit(0)
    os.close(writer)
    data = b""
    while piece := os.read(reader, 1 << 16):
        data += piece
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if not data:
        return Run(Answer(KILLED if status == 9 else TRACEBACK, "", f"status {status:#x}"), "", 0)
    answer, hit, calls, _ = json.loads(data)
    return Run(Answer(*answer), hit, calls)


def prepared(subject: Subject, name: str) -> None:
    """Make the folders that a command works on."""
    damage.linked(subject.store, Path("store"))
    damage.linked(subject.root / "mirror", Path("mirror"))
    for kind in (
        BEFORE_REPAIR.get(name, ()) if name != "repair" else sum(BEFORE_REPAIR.values(), ())
    ):
        damage.apply("cut", Path("store", first_needed(subject, kind)), None)
    Path("got").mkdir()
    for name, data in NEW.items():
        Path(name).write_bytes(data)
    for name, data in OLD.items():
        Path("got", name).write_bytes(data)


def first_needed(subject: Subject, kind: str) -> str:
    """Return a file of a kind, one that a version needs if there are such."""
    found = [key for key in subject.files() if subjects.kind(key) == kind]
    needed = sorted(key for keys in subject.needs.values() for key in keys if key in found)
    return next(iter(needed), found[0])


def counted(subject: Subject, case: Case, _: str) -> int:
    """Return how many calls of the command touch the folders."""
    prepared(subject, case.command)
    found = injected(case)
    assert found.answer.code == 0, found
    return found.calls


class Judge:
    """Looks at the store after a command that failed or was killed."""

    def __init__(self, subject: Subject, case: Case, suite: str = "syscalls") -> None:
        self.subject, self.case = subject, case
        self.tally = Tally(suite)
        self.tally.cases = self.tally.tried = 1
        self.hit = ""

    def note(self, outcome: str, what: str) -> None:
        self.tally.add(outcome, f"{self.case} {self.hit}: {what}")

    def run(self) -> dict[str, Any]:
        prepared(self.subject, self.case.command)
        return self.judge(injected(self.case))

    def judge(self, found: Run) -> dict[str, Any]:
        """Count how the command ended, look at the store, and run the command again."""
        self.hit = found.hit
        answer = found.answer
        said = f"exit {answer.code}: {answer.text[-400:]}"
        if answer.code == HANG:
            self.note("hangs", "no end")
        elif answer.code == TRACEBACK:
            self.note("tracebacks", answer.text[-1500:])
        elif answer.code == 0:
            self.tally.survived += 1
        elif answer.code != KILLED:
            self.tally.refused += 1
            if "store" not in answer.text and "copy" not in answer.text and "/" not in answer.text:
                self.note("unclear", said)
        else:
            self.tally.survived += 1
        if not self.is_repair:
            self.check_versions("after it")
        self.check_report(answer, said)
        self.check_again()
        return self.tally.as_json()

    @property
    def is_repair(self) -> bool:
        return self.case.command in BEFORE_REPAIR

    def check_versions(self, when: str) -> None:
        """Every version of before is there, byte by byte."""
        store = kept.open_store("store")
        for name, expected in self.subject.contents.items():
            if name == "b:v2" and self.case.command == "rm":
                continue
            try:
                store.version(name).download(Path("out"))
                if tree(Path("out")) != expected:
                    self.note("wrong", f"{name} {when}")
            except (KeptError, OSError) as error:
                self.note("lost", f"{name} {when}: {error}")
            shutil.rmtree("out", ignore_errors=True)

    def check_report(self, answer: Answer, said: str) -> None:
        """What was committed is reported as committed, and nothing else."""
        if answer.code == KILLED:
            return
        # With damage beside it, a command exits with 4, and prints its result as always.
        succeeded = answer.code == 0 or (answer.code == 4 and bool(answer.out.strip()))
        is_done = self.is_done()
        if is_done is not None and is_done != succeeded:
            there = "is committed" if is_done else "is not committed"
            self.note("misreported", f"the change {there}; {said}")
        if self.case.command == "get":
            self.check_got(succeeded)

    def is_done(self) -> bool | None:
        """Return whether the change of the command is in the log; None if it makes none."""
        store = kept.open_store("store")
        try:
            match self.case.command:
                case "put":
                    return store.version("a").index == 7 and "fresh" in store.version("a").aliases
                case "first put":
                    return store.version("brand-new").index == 0
                case "undelete":
                    return store["a:v5"].index == 5
                case "rm":
                    return store.version("b").index != 2
                case "alias":
                    return store["a:fresh"].index == 1
        except KeptError:
            return False
        return None

    def check_got(self, succeeded: bool) -> None:
        """Get leaves all files or none; if the disk stays broken, each old or new."""
        found = {k: v for k, v in tree(Path("got")).items() if not k.startswith(".kept-")}
        new = self.subject.contents["a:v4"]
        if found == new and not succeeded:
            self.note("misreported", "get has replaced all files, and reports an error")
        elif found != (new if succeeded else OLD) and not (
            self.case.fault.endswith(STAYS)
            and not succeeded
            and all(found.get(name) in (new[name], OLD[name]) for name in new)
        ):
            self.note("wrong", f"get left { {k: v[:20] for k, v in found.items()} }")

    def check_again(self) -> None:
        """The next run of the command works, and the store is whole after it."""
        was_done = self.is_done()
        answer = command(*COMMANDS[self.case.command])
        if answer.code != 0 and not (self.case.command == "rm" and was_done and answer.code == 3):
            self.note("lost", f"the next run fails: exit {answer.code}: {answer.text[-400:]}")
            return
        self.check_versions("after the next run")
        if self.case.command == "get":
            self.check_got(succeeded=True)
        elif self.case.command.endswith("put"):
            self.check_put()
        elif self.case.command == "sync":
            self.check_copy()
        verified = command("verify")
        if verified.code != 0:
            self.note("lost", f"verify after the next run: {verified.text[-400:]}")

    def check_put(self) -> None:
        name = COMMANDS[self.case.command][1]
        store = kept.open_store("store")
        expected = 7 if name == "a" else 0
        if store.version(name).index != expected:
            self.note("wrong", f"the version was committed twice: {store.version(name).reference}")
        store.version(name).download(Path("out"))
        if tree(Path("out")) != NEW:
            self.note("wrong", "the version that put committed")
        shutil.rmtree("out")

    def check_copy(self) -> None:
        copy = kept.open_store("copy")
        found = {v.reference for a in copy.artifacts() for v in a.versions()}
        if found != self.subject.contents.keys() or not copy.verify().ok:
            self.note("lost", f"the copy has {sorted(found)}: {copy.verify().problems[:3]}")


def judged(subject: Subject, case: Case, _: str) -> dict[str, Any]:
    return Judge(subject, case).run()


def main(options: list[str]) -> Tally:
    short = "--short" in options
    subjects.prepare()
    total = Tally("syscalls", is_shown=True)
    with tempfile.TemporaryDirectory(prefix="kept-subjects-", dir=in_memory()) as folder:
        subject = subjects.own(Path(folder, "own"))
        every = []
        names = ("put", "undelete", "gc", "get", "repair") if short else tuple(COMMANDS)
        faults = ("EIO", "ENOSPC", KILL) if short else (*FAULTS, f"ENOSPC{STAYS}", f"EIO{STAYS}")
        kinds = [Case(name, 0, fault) for name in names for fault in faults]
        for ended in run(functools.partial(counted, subject), kinds):
            assert ended.result, ended
            every += [ended.case._replace(at=n + 1) for n in range(ended.result)]
        every = chosen(sorted(every), options, 25)
        total.take(run(functools.partial(judged, subject), every))
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
