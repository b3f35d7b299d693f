"""The origin of the versions that one callback saves: what a fit has, captured when it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.bucket.reach import PATIENCE
from kept.errors import Unreachable
from kept.messages import show
from kept.parallel import within
from kept.store.origin.capture import Capture
from kept.store.origin.links import Link, Source
from kept.store.origin.origin import Origin
from kept.store.origin.uses import Held, resolve, unresolved, wanted
from kept.sync.wandb.sdk import run_facts
from kept.training.data.environment import device_names, seeds
from kept.training.data.running_fit import running_fit
from kept.training.naming import run_id

if TYPE_CHECKING:
    from kept.store.encoding import Json
    from kept.store.store import Store
    from kept.training.destinations.base import Destination
    from kept.training.keras_api.adapter import KerasAdapter
    from kept.training.options import Options


class RunOrigin:
    """Captures the origin of a callback's fits, one after the other."""

    def __init__(self, options: Options, adapter: KerasAdapter) -> None:
        self._options, self._adapter = options, adapter
        self._capture: Capture | None = None
        self._uses: tuple[Link | Source, ...] = ()
        self._resumed: Held | None = None  # by a kept.resume among the callbacks of the fit
        self._store: Store | None = None

    def begin(self, destination: Destination) -> None:
        """Look up what the fit uses, and begin to capture; on_train_begin calls it.

        Raises NotFound for a version that does not exist, or what reading another store raises. A
        store that does not answer is reported, and the training begins.
        """
        options, self._store = self._options, destination.store
        if self._store is not None:
            self._uses = self._resolved(self._store)
        found = (getattr(one, "resumed_from", None) for one in running_fit().callbacks)
        self._resumed = next((held for held in found if isinstance(held, Held)), None)
        self._capture = Capture(self._facts()) if options.capture and self._store else None

    def of(self, resumed: Held | None) -> Origin:
        """Return the origin of a version; resumed is what the callback itself resumed from."""
        held, parent = resumed or self._resumed, None
        if held is not None and self._store is not None:
            (parent,) = resolve([held], self._store.logs)
        return Origin(self._capture, parent if isinstance(parent, Link) else None, self._uses)

    def _resolved(self, store: Store) -> tuple[Link | Source, ...]:
        uses = wanted(self._options.uses)
        if not uses:
            return ()
        try:
            return within(PATIENCE, lambda: resolve(uses, store.logs))
        except (Unreachable, TimeoutError) as error:
            show(
                f"uses= is not looked up, so versions name it as it was given: "
                f"{error or 'a store does not answer'}"
            )
            return unresolved(uses, store.location)

    def _facts(self) -> dict[str, Json]:
        framework = self._adapter.framework
        run: dict[str, Any] = {"id": run_id()}
        if of_wandb := run_facts(getattr(self._options, "run", None)):
            run["wandb"] = of_wandb
        return {
            "framework": framework,
            "devices": device_names(framework),
            "seeds": seeds(framework),
            "run": run,
        }
