"""What the hooks of a callback do in the processes after the first one.

A follower opens no destination and commits nothing. In each open hook it reads what the first rank
does (group/announce.py) and takes part: it gives the state of its own run to each save. If the
weights lie across the processes, it also copies its pieces of them, and stores them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.errors import KeptError
from kept.messages import muted
from kept.training.decide.leading import other_order, spans_processes
from kept.training.decide.preemption import Preemption
from kept.training.destinations.store import open_given
from kept.training.follow.piece_saver import PieceSaver
from kept.training.group.announce import BEGIN_OF_FIT, END_OF_FIT, Place, Stop
from kept.training.group.facts import check_equal, facts, next_fit
from kept.training.group.other_rank import OtherRank
from kept.training.group.read_together import read_together
from kept.training.options import Options
from kept.training.resume.rank_state import rank_message
from kept.training.save.failure_policy import FailurePolicy
from kept.training.save.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.store import Store
    from kept.training.group.announce import Begun, SharedSave
    from kept.training.group.base import Group
    from kept.training.keras_api.adapter import KerasAdapter
    from kept.training.resume.base import Resuming

    Logs = Mapping[str, Any]


class Follower:
    """Follows the first rank in one callback; see Controller for the hooks."""

    _first: OtherRank

    def __init__(
        self, owner: Any, adapter: KerasAdapter, options: Options, resuming: Resuming
    ) -> None:
        self._owner, self._adapter, self._options = owner, adapter, options
        self._resuming = resuming
        self._preemption = Preemption(options.grace_seconds)
        self._writer = Writer()
        self._epoch = 0
        self._has_trained = False  # in this fit
        self._pieces: PieceSaver | None = None  # if this process has a part of the weights
        self._failures = FailurePolicy(self._writer, options.on_error)
        self.name: str | None = options.name  # of the artifact
        self._store: Store | None = None

    @property
    def store(self) -> Store | None:
        """The store of the versions; None if they go to W&B alone."""
        given = self._options.store
        if self._store is None and (given is not None or type(self._options) is Options):
            self._store = open_given(given)
        return self._store

    def train_begin(self, group: Group | None) -> None:
        """Agree with the other ranks on the run, and resume what the first rank resumes.

        Raises GroupError, RankMissing or CannotResume.
        """
        assert group is not None, "a follower has a first rank"
        self._has_trained = False
        fit = next_fit(group)
        check_equal(group, fit, facts(self._owner, self._options, self._adapter))
        self._first = OtherRank(group, fit)
        begun = self._first.begun()
        self.name = begun.artifact
        is_shared = spans_processes(self._owner.model, self._adapter.framework)
        if begun.needs_store:
            problem = self._open_store(begun) or (other_order(group) if is_shared else None)
            self._first.check_store(problem)  # all ranks raise GroupError if one cannot
        if begun.resumes and self._store is not None:
            resume, key = self._options.resume, f"{fit}/resume"
            self._resuming.prepare(self._store, self.name, resume, group, key=key)
        self._pieces = None
        if is_shared:
            assert self._store is not None, "the first rank needs the store, too"
            self._pieces = PieceSaver(group, self._store.bucket, self._writer)
        self._failures.begin()
        self._resuming.begin()
        self._take_part(BEGIN_OF_FIT, {})
        self._preemption.listen()

    def epoch_begin(self, epoch: int) -> None:
        """Note the epoch."""
        self._epoch = epoch
        self._resuming.epoch_begin(epoch)

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Take part in what the first rank does at the end of this batch."""
        if not self._resuming.passes(batch) and not self._has_trained:
            self._has_trained = True
            _ = self._owner.model  # the first rank reads it, too: on JAX all processes take part
        if self._first.is_open(batch):
            self._take_part(Place(self._epoch, batch), logs)

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        """Take part in what the first rank does at the end of this epoch."""
        self._resuming.epoch_end()
        self._take_part(Place(epoch), logs)

    def train_end(self) -> None:
        """Wait until every checkpoint of the first rank is durable."""
        self._resuming.end()
        self._take_part(END_OF_FIT, {})
        self._writer.is_done()
        self._failures.report()
        self._preemption.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what this process stores is durable; return whether it is."""
        return self._writer.wait(timeout)

    def close(self) -> None:
        """Wait as wait does, and free the memory of the snapshots."""
        self._writer.wait()
        if self._pieces is not None:
            self._pieces.free()

    def get_state(self) -> dict[str, Any]:
        """Return nothing: the first rank's callback has what a resumed run needs."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take nothing; see get_state."""

    def _open_store(self, begun: Begun) -> str | None:
        """Open the store of the first rank; return why this process cannot, None if it can."""
        try:
            store = open_given(self._options.store)
        except (KeptError, OSError) as error:
            return f"the store cannot be opened: {error}"
        self._store = store
        marker = store.logs.marker
        if ((marker.id if marker else None) or "") == begun.store_id:
            return None
        return (
            f"{store.location} is not the store of rank 0. All processes must reach one store: "
            "pass one in object storage, such as store='s3://bucket/prefix', or in a folder that "
            "all machines share"
        )

    def _take_part(self, place: Place, logs: Logs) -> None:
        """Take part in an open hook; raises what the first rank raised in it."""
        if self._preemption.is_due:
            self._first.signal()
        for step in self._first.steps(place):
            if isinstance(step, Stop):
                self._owner.model.stop_training = True
                continue
            if step.copies and self._pieces is not None:
                self._pieces.save(self._owner.model, step.save)
            elif not step.copies:
                read_together(self._owner.model)
            if step.takes_state:
                self._give_state(step.save, place, logs)
        self._failures.report()

    def _give_state(self, save: SharedSave, place: Place, logs: Logs) -> None:
        """Give the state of this run to a save, or why there is none: then the save fails."""
        try:
            with muted():  # the first rank prints what no version holds
                state = self._resuming.capture(place.epoch, place.batch, logs)
            message = None if state is None else rank_message(state, self._owner.model)
        except Exception as error:  # noqa: BLE001 - the first rank raises it, by on_error
            message = {"error": f"{type(error).__name__}: {error}"}
        save.states(message)
