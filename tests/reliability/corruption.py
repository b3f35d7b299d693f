"""Damages every file of a store in every way, and runs every command on it.

`python -m tests.reliability.corruption` runs everything; with --short, some files of each kind.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
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
from tests.reliability.cases import Hang, in_memory, limited, run
from tests.reliability.commands import HANG, SIZES, TRACEBACK, changing, reading, same_place
from tests.reliability.commands import kept as command
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.commands import Answer
    from tests.reliability.subjects import Subject


class Case(NamedTuple):
    subject: str
    key: str
    damage: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.damage} of {subjects.kind(self.key)} {self.key}"


def cases(subject: Subject) -> Iterator[Case]:
    """Yield every file with every damage, and every folder."""
    for key in subject.files():
        for name in damage.FILES:
            if name != "swap" or subjects.sibling(subject, key):
                yield Case(subject.name, key, name)
    for key in subject.folders():
        yield from (Case(subject.name, key, name) for name in damage.FOLDERS)


def some_cases(subject: Subject) -> Iterator[Case]:
    """Yield each damage once, and each kind of file about twice."""
    keys = itertools.cycle(subjects.of_each_kind(subject, 2))
    for name in damage.FILES:
        key = next(k for k in keys if name != "swap" or subjects.sibling(subject, k))
        yield Case(subject.name, key, name)
    yield from (Case(subject.name, key, "EIO") for key in ("artifacts/a/log", "blobs"))


class Enough(Exception):
    """Further commands on this store hang, too."""


class Judge:
    """Runs the commands on one damaged store, and compares with the healthy one."""

    def __init__(self, subject: Subject, healthy: dict[str, list[Any]], case: Case) -> None:
        self.subject, self.healthy, self.case = subject, healthy, case
        self.tally = Tally("corruption")
        self.effects: list[str] = []
        self.copies = 0
        self.store = Path("store")
        path = self.store / case.key
        self.healthy_copy = Path("healthy")
        if path.is_dir():
            damage.linked(self.store, self.healthy_copy)
        self.damaged = {case.key}
        self.is_folder = path.is_dir()
        self.before = None if self.is_folder else path.read_bytes()
        self.other: tuple[Path, bytes] | None = None
        if case.damage == "swap":
            other = subjects.sibling(subject, case.key)
            assert other is not None
            self.other = (self.store / other, (self.store / other).read_bytes())
            self.damaged.add(other)
        damage.apply(case.damage, path, self.other and self.other[0])

    def note(self, outcome: str, what: str, answer: Answer | None = None) -> None:
        said = f": exit {answer.code}: {answer.text[-600:]}" if answer else ""
        if self.is_exempt and outcome not in ("tracebacks", "hangs"):
            outcome = "exceptions"
        self.tally.add(outcome, f"{self.case}: {what}{said}")

    def run(self) -> dict[str, Any]:
        with contextlib.suppress(Enough):
            self.try_all()
        return self.tally.as_json()

    def try_all(self) -> None:
        readable = self.get_all()
        for args in reading(self.subject):
            self.show(args)
        dry = command("gc", "--grace", "0s", "--dry-run", "--json")
        self.ended(("gc", "--dry-run"), dry)
        verified = command("verify", "--json")
        if self.ended(("verify",), verified) == 0 and self.effects:
            self.note("silent", f"verify finds nothing, but: {self.effects[:3]}")
        for args in changing(self.subject):
            self.change(args, readable)

    def ended(self, args: tuple[str, ...], answer: Answer) -> int:
        """Count how a command ended; return its exit code."""
        what = " ".join(args)
        self.tally.tried += 1
        if answer.code == HANG:
            self.note("hangs", what)
            if self.tally.bad["hangs"] == 2:
                raise Enough
        elif answer.code == TRACEBACK:
            self.note("tracebacks", what, answer)
        elif answer.code == 0:
            self.tally.survived += 1
        else:
            self.effects.append(what)
            named = any(Path(key).name.removesuffix(".json") in answer.text for key in self.damaged)
            if answer.code == 4 or (answer.code in (1, 3) and named):
                self.tally.refused += 1
            else:
                self.note("unclear", what, answer)
        return answer.code

    def get_all(self) -> list[str]:
        """Get every version; return those that are readable."""
        readable = []
        every = {r: r for r in self.subject.contents} | self.subject.aliases
        for name, reference in every.items():
            target = Path("got")
            answer = command("get", name, str(target))
            code = self.ended(("get", name), answer)
            found = tree(target) if target.is_dir() else {}
            shutil.rmtree(target, ignore_errors=True)
            if found and found != self.subject.contents[reference]:
                self.note("wrong", f"get {name}", answer)
            elif code == 0 and not found:
                self.note("silent", f"get {name} wrote nothing", answer)
            elif found and name == reference:
                readable.append(name)
            elif name == reference and not self.depends(reference):
                self.note("taken along", f"get {name}", answer)
        return readable

    def depends(self, reference: str) -> bool:
        """Return whether a version needs the damaged file or folder."""
        needs = self.subject.needs[reference]
        if self.is_folder:
            return any(key.startswith(self.case.key + "/") for key in needs)
        return bool(needs & self.damaged)

    def show(self, args: tuple[str, ...]) -> None:
        answer = command(*args)
        if self.ended(args, answer) != 0:
            return
        expected = self.healthy[" ".join(args)]
        if [answer.code, same_place(answer.out)] != expected:
            self.effects.append(" ".join(args))
            if args[0] not in SIZES:
                self.note("silent", f"{' '.join(args)} differs", answer)

    @functools.cached_property
    def is_exempt(self) -> bool:
        """Return whether nothing in the store can show the damage; docs/reliability.md lists these.

        The last record of a log is lost; a receipt is lost; content of a deleted version is lost,
        as after a gc; something else is in place of the folder of an artifact.
        """
        key, name = self.case.key, self.case.damage
        if self.is_folder:
            return name in ("file", "link to nowhere") and key.startswith(("artifacts/", "outbox"))
        if name != "delete":
            return False
        folder, is_record, _ = key.rpartition("/log/")
        if is_record:
            return key == max(k for k in self.subject.files() if k.startswith(f"{folder}/log/"))
        is_content = subjects.kind(key) in ("blob", "manifest")
        needed = any(key in needs for needs in self.subject.needs.values())
        return subjects.kind(key) == "receipt" or (is_content and not needed)

    def change(self, args: tuple[str, ...], readable: list[str]) -> None:
        """Run a command that writes, on a copy of the damaged store."""
        home = os.getcwd()
        self.copies += 1
        place = Path(f"changed-{self.copies}")
        place.mkdir()
        if self.is_folder:  # a damaged folder cannot be copied
            damage.linked(self.healthy_copy, place / "store")
            damage.apply(self.case.damage, place / "store" / self.case.key, None)
        else:
            damage.linked(self.store, place / "store")
        os.chdir(place)
        try:
            Path("new.txt").write_bytes(b"new " * 50)
            Path("same.txt").write_bytes(b"the same in all")
            code = self.ended(args, command(*args))
            self.check_change(args, readable, code)
        finally:
            os.chdir(home)
            shutil.rmtree(place, ignore_errors=True)

    def check_change(self, args: tuple[str, ...], readable: list[str], code: int) -> None:
        removed = {args[1]} if args[0] == "rm" and code == 0 else set()
        for name in self.unreadable(set(readable) - removed):
            self.note("lost", f"{name}, after {' '.join(args)} (exit {code})")
        if args[0] == "put" and code == 0:
            self.check_put(args[1])
        if args[0] == "sync":
            self.check_copy(complete=code == 0)
        if self.is_folder:
            return
        self.heal()
        for name in self.unreadable(set(self.subject.contents) - removed):
            self.note(
                "lost",
                f"{name} even with the right file put back, after {' '.join(args)} (exit {code})",
            )

    def heal(self) -> None:
        assert self.before is not None
        damage.replace(Path("store", self.case.key), self.before)
        if self.other:
            damage.replace(Path(self.other[0]), self.other[1])

    def unreadable(self, names: set[str], where: str = "store") -> list[str]:
        """Return the versions that cannot be downloaded byte by byte."""
        found = []
        for name in sorted(names):
            target = Path("got")
            try:
                with limited():
                    kept.open_store(where).version(name).download(target)
                    if tree(target) != self.subject.contents[name]:
                        found.append(f"{name} (wrong bytes)")
            except (KeptError, OSError) as error:
                found.append(f"{name} ({str(error)[:200]})")
            except Hang:
                found.append(f"{name} (no end)")
            shutil.rmtree(target, ignore_errors=True)
        return found

    def check_put(self, artifact: str) -> None:
        """Check that a committed version can be read, unless it builds on a damaged blob."""
        expected = {"new.txt": b"new " * 50, "same.txt": b"the same in all"}
        try:
            with limited():
                kept.open_store("store").version(artifact).download(Path("got"))
            if tree(Path("got")) != expected:
                self.note("wrong", "the version that put committed")
        except (KeptError, OSError, Hang) as error:
            built = subjects.kind(self.case.key) == "blob" and self.case.damage in (
                "first bit",
                "middle bit",
                "last bit",
                "random",
                "swap",
                "EIO",
                "EIO on open",
                "EACCES",
            )
            self.note("built on" if built else "lost", f"the version that put committed: {error}")
        shutil.rmtree("got", ignore_errors=True)

    def check_copy(self, *, complete: bool) -> None:
        if not Path("copy/kept.json").exists():
            if complete:
                self.note("silent", "sync copied nothing")
            return
        try:
            there = {v.reference for a in kept.open_store("copy").artifacts() for v in a.versions()}
        except (KeptError, OSError) as error:
            self.note("lost", f"the copy cannot be read: {error}")
            return
        for name in self.unreadable(there & self.subject.contents.keys(), "copy"):
            self.note("wrong", f"{name} in the copy")
        if complete and there != self.subject.contents.keys():
            self.note("silent", f"sync copied {sorted(there)}")


def healthy_answers(subject: Subject, _: str) -> dict[str, list[Any]]:
    """Return what the commands print for the healthy store; in a child, as the others are."""
    shutil.copytree(subject.store, "store")
    found: dict[str, list[Any]] = {}
    for args in reading(subject):
        answer = command(*args)
        assert answer.code == 0, (args, answer)
        found[" ".join(args)] = [answer.code, same_place(answer.out)]
    return found


def judged(known: dict[str, tuple[Subject, dict[str, Any]]], case: Case, _: str) -> dict[str, Any]:
    """Damage a copy of the subject, and judge every command."""
    subject, healthy = known[case.subject]
    if case.damage in damage.AS_ANOTHER_USER:
        damage.become_nobody()
    shutil.copytree(subject.store, "store")
    return Judge(subject, healthy, case).run()


def main(options: list[str]) -> Tally:
    short = "--short" in options
    subjects.prepare()
    total = Tally("corruption", is_shown=True)
    with tempfile.TemporaryDirectory(prefix="kept-subjects-", dir=in_memory()) as folder:
        os.chmod(folder, 0o755)
        root = Path(folder)
        made = [subjects.own(root / "own")]
        made += [] if short else [subjects.golden(n, root / n) for n in ("raw", "coded")]
        known = {}
        for subject in made:
            [answer] = run(functools.partial(healthy_answers), [subject])
            assert not answer.error, answer.error
            known[subject.name] = (subject, answer.result)
        choose = some_cases if short else cases
        every = [case for subject in made for case in choose(subject)]
        every = chosen(every, options)
        total.cases += len(every)
        total.take(run(functools.partial(judged, known), every))
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
