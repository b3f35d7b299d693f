"""A bucket is emptied, replaced or restored under an open store: cases of the suite `remote`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kept
from kept.sync.mirror.mirrors import Mirror
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from tests.reliability.commands import HANG, TRACEBACK, Answer
from tests.reliability.commands import kept as command
from tests.reliability.remote_operations import WAITING, called
from tests.reliability.remote_place import Place, short_limits
from tests.reliability.remote_store import State, Tree, files_of, given, state_of_objects
from tests.reliability.table import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.remote_store import Template

EVENTS = ("emptied", "replaced", "restored")
ACTORS = ("put", "deliver", "gc", "prune", "mirror")


class Event(NamedTuple):
    """What happens to the bucket, and what the open store does then."""

    event: str
    actor: str

    def __str__(self) -> str:
        return f"{self.actor}: bucket {self.event}"

    def work(self, template: Template) -> dict[str, Any]:
        """Run the case."""
        short_limits()
        judge = (_MirrorJudge if self.actor == "mirror" else _Judge)(template, self)
        with judge.place.proxy:
            judge.run()
        return judge.tally.as_json()


def cases() -> Iterator[Event]:
    """Yield all cases."""
    for event in EVENTS:
        yield from (Event(event, actor) for actor in ACTORS)


class _Judge:
    def __init__(self, template: Template, case: Event) -> None:
        self.template, self.case = template, case
        self.place = Place(template, "event")
        self.tally = Tally("remote")
        self.tally.cases = 1

    def note(self, outcome: str, what: str) -> None:
        text = f"{self.case}: {what}"
        self.tally.add(outcome, text)

    def counted(self, answer: Answer) -> Answer:
        self.tally.tried += 1
        if answer.code in (HANG, TRACEBACK):
            self.note("hangs" if answer.code == HANG else "tracebacks", answer.text)
        elif answer.code:
            self.tally.refused += 1
        else:
            self.tally.survived += 1
        return answer

    def happen(self, older: Tree) -> Tree:
        """Change the bucket; return what is in it then."""
        values = {"emptied": {}, "replaced": self.template.values("other"), "restored": older}
        self.place.raw.replace(values[self.case.event])
        return values[self.case.event]

    def put(self, store: kept.Store, n: int, name: str = "m") -> None:
        store.log_artifact(name, given(Path("given"), files_of(name, n)))

    def run(self) -> None:
        store = kept.open_store(self.place.location)
        delivery = Delivery(store, Outbox("outbox"))
        self.put(store, 10)
        self.put(store, 11)
        before = state_of_objects(self.happen(self.place.values), Path("before").absolute())
        for n in (20, 21, 22):
            files = {path.name: str(path) for path in given(Path(f"d{n}"), files_of("m", n))}
            delivery.add("m", files, {"type": "model", "aliases": [], "metadata": {"epoch": n}})
        actions = {
            "put": lambda: [self.put(store, n) for n in (20, 21, 22)],
            "deliver": delivery.send,
            "gc": lambda: store.gc(grace=0),
            "prune": lambda: store.prune("m", kept.Keep(last=2)),
        }
        answer = self.counted(called(actions[self.case.actor]))
        self.judge(before, answer, len(delivery.left()))

    def judge(self, before: State, answer: Answer, left: int) -> None:
        state = self.place.state()
        said = f"exit {answer.code}: {answer.text[-300:]}"
        for problem in state.problems:
            self.note("lost", f"damage: {problem}; {said}")
        for reference, files in before.versions.items():
            is_pruned = self.case.actor == "prune" and reference.startswith("m:")
            if not is_pruned and state.versions.get(reference) != files:
                self.note("lost", f"{reference} is not as it was; {said}")
        made = [f for f in state.named("m") if f in WAITING]
        if self.case.actor in ("put", "deliver") and not answer.code and made != list(WAITING):
            self.note("lost", f"{len(made)} of 3 versions can be read that were committed; {said}")
        if self.case.actor == "deliver" and len(made) + left < len(WAITING):
            self.note("lost", f"{left} checkpoints wait, {len(made)} can be read; {said}")
        if len(made) != len({f["own.bin"] for f in made}):
            self.note("doubled", f"{len(made)} versions; {said}")


class _MirrorJudge(_Judge):
    """The bucket is a mirror of a store on the disk."""

    def run(self) -> None:
        here = kept.open_store("here")
        mirror = Mirror(here, self.place.location)
        mirror.begin("p")
        older: Tree = {}
        for n in range(5):
            self.put(here, n, "p")
            mirror.courier.wake("p")
            mirror.courier.wait(20)
            older = older or self.place.raw.get()
        self.happen(older)
        for n in (5, 6):
            self.put(here, n, "p")
            mirror.courier.wake("p")
            mirror.courier.wait(5)
        mirror.courier.stop(5)
        answer = self.counted(command("sync", store="here"))
        state = self.place.state()
        right = [files_of("p", n) for n in range(7)]
        said = f"exit {answer.code}: {answer.text[-400:]}"
        if len(here.versions("p")) != len(right):
            self.note("lost", f"versions of the store itself; {said}")
        if answer.code and self.case.event == "emptied":
            self.note("lost", f"kept sync does not fill an emptied mirror; {said}")
        elif not answer.code and (state.named("p") != right or state.problems):
            found = f"{len(state.named('p'))} of 7 versions, {state.problems}"
            self.note("false ok", f"the mirror has {found}; {said}")
