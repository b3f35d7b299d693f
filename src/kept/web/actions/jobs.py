"""Actions that take long: each runs in a thread, and has a page with its progress."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.errors import KeptError, NotFound

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.web.verbs.plan import Plan
    from kept.web.verbs.upkeep import Gc, Verify

_MOST = 50  # jobs that are remembered
_MOST_AT_ONCE = 4


@dataclass
class Job:
    """A running or finished action."""

    number: int
    title: str
    label: str
    back: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    percent: int | None = None
    says: list[str] = field(default_factory=list)
    error: str | None = None

    def update(self, done: int, total: int) -> None:
        """Take the progress."""
        self.percent = 100 * done // total if total else None


class Jobs:
    """The jobs of a server."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._count = 0
        self._lock = threading.Lock()

    def start(self, store: Store, verb: Gc | Verify, plan: Plan) -> Job:
        """Begin a job; raises KeptError if enough are running."""
        with self._lock:
            if sum(job.ended is None for job in self._jobs.values()) >= _MOST_AT_ONCE:
                raise KeptError(f"{_MOST_AT_ONCE} actions are running. Try again after one ends.")
            self._count += 1
            job = Job(self._count, plan.title, verb.label, plan.back)
            self._jobs[job.number] = job
            for number in list(self._jobs)[:-_MOST]:
                del self._jobs[number]
        # A daemon: Ctrl-C ends the server at once. Both verbs can be killed at any moment.
        threading.Thread(target=_run, args=(job, store, verb, plan), daemon=True).start()
        return job

    def find(self, number: int) -> Job:
        """Return a job; raises NotFound."""
        job = self._jobs.get(number)
        if job is None:
            raise NotFound("This action ended some time ago, or before the server was started.")
        return job


def _run(job: Job, store: Store, verb: Gc | Verify, plan: Plan) -> None:
    try:
        job.says = verb.work(store, plan, job.update)
    except (KeptError, OSError) as error:
        job.error = str(error)
    except BaseException:
        job.error = "An unexpected error ended it. The terminal of kept ui shows it."
        raise
    finally:
        job.ended = datetime.now(UTC)
