"""One fault in one operation: the cases of the suite `remote`, and how a case is judged."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.reliability import remote_keep, subjects
from tests.reliability.commands import HANG, TRACEBACK, Answer
from tests.reliability.remote_operations import OPERATIONS, SILENCE
from tests.reliability.remote_place import Place, short_limits
from tests.reliability.table import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.remote_store import State, Template
    from tests.servers.lying import Asked

_ANY = ("away", "500", "503", "403", "404", "409", "412", "200err", "html", "slow", "hang")
_WRITES = ("drop", "500after", "503after", "409after", "412after", "200errafter")
WRONG_BYTES = ("flip", "cut", "other", "blank")
FAULTS = {
    "LIST": (*_ANY, "reset", "cut", "blank", "empty", "stale"),
    "GET": (*_ANY, "reset", *WRONG_BYTES),
    "HEAD": ("away", "500", "503", "403", "404", "html", "slow", "hang"),
    "PUT": (*_ANY, *_WRITES),
    "CPUT": (*_ANY, *_WRITES),
    "DELETE": (*_ANY, *_WRITES),
}
KINDS = ("record", "page", "manifest", "blob", "kept.json", "gc list", "receipt")
# With these answers, each time, a store looks as a damaged one does.
_LOOK_LIKE_DAMAGE = (*WRONG_BYTES, "404", "html", "200err", "empty", "stale")


class Case(NamedTuple):
    operation: str
    target: str  # a class of requests, or "GET of a kind of key"
    fault: str
    when: int  # the number of the request with the fault; 0 for all

    def __str__(self) -> str:
        when = f"once ({self.when})" if self.when else "always"
        return f"{self.operation}: {self.target} {self.fault} {when}"

    def work(self, template: Template) -> dict[str, Any]:
        """Run the case."""
        return Judge(template, self).run()


class Lie:
    """Decides for each request whether it has the fault of a case."""

    def __init__(self, place: Place, case: Case) -> None:
        self.place, self.case = place, case
        self.hits = self.seen = 0

    def __call__(self, asked: Asked) -> str | None:
        if self.case.target not in targets(self.place.prefix, asked):
            return None
        self.seen += 1
        if self.case.when not in (0, self.seen):
            return None
        self.hits += 1
        return self.case.fault


def targets(prefix: str, asked: Asked) -> list[str]:
    """Return what a request is: its class, and of a GET the kind of its key."""
    key = asked.key.removeprefix(f"{prefix}/")
    return [asked.kind, f"GET of {subjects.kind(key)}"] if asked.kind == "GET" else [asked.kind]


def profile(template: Template, name: str, _: str) -> dict[str, int]:
    """Run an operation without a fault; return how often it makes each kind of request."""
    operation, place = OPERATIONS[name], Place(template, "profile", OPERATIONS[name].variant)
    counts: dict[str, int] = {}
    with place.proxy:
        answer = operation.run(place.location)
        state = place.state(after_gc=operation.variant != "store")
    wrong = operation.done(answer, state) if answer.code == 0 else answer.text
    wrong = wrong or str(place.findings(operation, state) or "")
    assert not wrong, f"{name} without a fault: {wrong}"
    for asked, _fault in place.proxy.asked:
        for target in targets(place.prefix, asked):
            counts[target] = counts.get(target, 0) + 1
    return counts


def cases(profiles: dict[str, dict[str, int]]) -> Iterator[Case]:
    """Yield the cases in which the fault is met."""
    for name, counts in profiles.items():
        for target, count in counts.items():
            is_kind = target.startswith("GET of")
            if is_kind and target.removeprefix("GET of ") not in KINDS:
                continue
            faults = (*WRONG_BYTES, "html", "404") if is_kind else FAULTS[target]
            faults += remote_keep.FAULTS if (name, target) == ("keep", "LIST") else ()
            every = target == "LIST" or is_kind
            first = max(1, count - 11) if name == "keep" else 1  # its gc runs at the end
            numbers = (
                range(first, min(count, first + 11) + 1) if every else {1, (count + 1) // 2, count}
            )
            for fault in faults:
                yield from (Case(name, target, fault, when) for when in (0, *sorted(numbers)))


class Judge:
    """Runs one case, and counts what becomes of it."""

    def __init__(self, template: Template, case: Case) -> None:
        self.case, self.operation = case, OPERATIONS[case.operation]
        short_limits()
        self.place = Place(template, "fault", self.operation.variant)
        self.place.proxy.others = self.others()
        self.tally = Tally("remote")
        self.tally.cases = 1

    def others(self) -> dict[str, bytes]:
        """Return for each key the value of another one of its kind."""
        found = {}
        for key in self.place.values:
            kind = subjects.kind(key)
            same = [k for k in self.place.values if subjects.kind(k) == kind and k != key]
            if same:
                found[f"{self.place.prefix}/{key}"] = self.place.values[same[len(key) % len(same)]]
        return found

    def run(self) -> dict[str, Any]:
        place, lie = self.place, Lie(self.place, self.case)
        with place.proxy:
            place.proxy.lie = lie
            started = time.monotonic()
            answer = self.operation.run(place.location)
            took = time.monotonic() - started
            place.proxy.lie = lambda asked: None
            place.proxy.over.set()
            if not lie.hits:
                return self.tally.as_json()
            self.tally.tried += 1
            state = self.state()
            self.judge(answer, state, took)
            self.later(answer, state)
        return self.tally.as_json()

    def state(self) -> State:
        return self.place.state(after_gc=self.operation.variant != "store")

    def judge(self, answer: Answer, state: State, took: float) -> None:
        said = f"exit {answer.code}: {answer.text[-400:]}"
        if answer.code == HANG or took > SILENCE:
            self.note("hangs", f"{took:.0f} s")
        elif answer.code == TRACEBACK:
            self.note("tracebacks", said)
        elif answer.code == 4:
            self.note("false damage", said)
        elif answer.code:
            self.tally.refused += 1
        elif wrong := self.done(answer, state):
            self.note("false ok", wrong)
        else:
            self.tally.survived += 1
        for outcome, what in self.place.findings(self.operation, state):
            self.note(outcome, f"{what}; {said}")

    def done(self, answer: Answer, state: State) -> str:
        try:
            return self.operation.done(answer, state)
        except (json.JSONDecodeError, LookupError, TypeError) as error:
            return f"{error!r} in {answer.out[-300:]}"

    def later(self, answer: Answer, state: State) -> None:
        """Without the fault the operation must work."""
        if answer.code == 0 or (not self.operation.reads and not self.done(answer, state)):
            return
        if self.operation.name in ("gc", "compact"):
            return
        until = time.monotonic() + SILENCE
        while (again := self.operation.run(self.place.location)).code and time.monotonic() < until:
            if not self.operation.reads and not self.done(again, self.state()):
                break  # the first run did it, so there is nothing left to do
            time.sleep(0.5)
        state = self.state()
        if wrong := self.done(again, state):
            self.note("lost", f"later: {wrong}: exit {again.code}: {again.text[-400:]}")
        for outcome, what in self.place.findings(self.operation, state):
            self.note(outcome, f"later: {what}")

    def note(self, outcome: str, what: str) -> None:
        text = f"{self.case}: {' '.join(what.split())}"
        if self.is_exempt(outcome):
            outcome = "exceptions"
        self.tally.add(outcome, text)

    def is_exempt(self, outcome: str) -> bool:
        """Return whether no program could see the fault, because each answer is a right one."""
        case = self.case
        if outcome == "false damage":
            return not case.when and case.fault in _LOOK_LIKE_DAMAGE
        if outcome != "false ok" or not self.operation.reads:
            return False
        is_check = case.operation in ("verify", "sync from")
        return case.fault == "stale" or (case.fault == "empty" and not (is_check and case.when))
