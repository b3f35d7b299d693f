"""What every checkpoint callback of kept has, on Keras 3 and on tf_keras: hooks and attributes.

CheckpointHooks comes before Keras's ModelCheckpoint among the bases of a callback. So its hooks
come first, and none of Keras's hooks that save is called.

Invariant: a copy (copy.copy, copy.deepcopy, pickle) has the attributes of the callback, also those
that were set later, and nothing of its fit: no model, thread or memory. It makes a Controller of
its own in its first use.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kept.store.display.displayed import DisplayedRun
from kept.training.data.running_fit import KeepsNoModel
from kept.training.decide.controller import Controller
from kept.training.decide.parts import Parts
from kept.training.destinations.open import open_destination
from kept.training.destinations.origin import RunOrigin
from kept.training.group.open import find_group
from kept.training.keras_api.adapter import check_model
from kept.training.options import Options
from kept.training.upkeep.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.store import Store
    from kept.store.version import Version
    from kept.sync.outbox.deliver import Arrivals
    from kept.training.destinations.base import Destination
    from kept.training.follow.follower import Follower
    from kept.training.group.base import Group
    from kept.training.keras_api.adapter import KerasAdapter
    from kept.training.resume.base import Resuming
    from kept.training.save.path_template import PathTemplate

    Logs = Mapping[str, Any]

# Attributes of Keras's callbacks that belong to a fit; a copy has None instead.
_OF_A_FIT = ("_weak_model", "model", "params", "validation_data")


class CheckpointHooks(KeepsNoModel, DisplayedRun):
    """Passes the hooks of a fit on to a Controller."""

    options_type: type[Options] = Options
    _initial: float | None
    _setup: tuple[KerasAdapter, PathTemplate, Options]  # what the controller is made from
    _follower: Follower | None = None  # in a process after the first one of a group
    _has_joined = False  # whether the fit has begun

    def _set_up(self, adapter: KerasAdapter, path: PathTemplate, options: Options) -> None:
        """Open the destination and make the controller; the last step of a constructor.

        Raises InvalidCheckpoint, or what opening the destination raises.
        """
        self._setup = (adapter, path, options)
        self._initial = vars(self).get("best")  # initial_value_threshold, by Keras's constructor
        self._choose()

    @cached_property
    def _controller(self) -> Controller:
        """The controller of this callback; a copy makes it in its first use."""
        adapter, path, options = self._setup
        path = copy.copy(path)  # it follows the attribute filepath of this callback alone
        upkeep = Upkeep(path, options)
        destination = self._open_destination(options, upkeep)
        is_named = options.name is not None or destination.is_named
        resuming = self._make_resuming(options, is_named=is_named)
        origin = RunOrigin(options, adapter)
        parts = Parts(adapter, path, options, destination, upkeep, resuming, origin, is_named)
        controller = Controller(self, parts)
        controller.best.begin(self._initial)
        controller.best.value = vars(self).pop("best", None)  # from Keras's constructor, or a copy
        return controller

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes of a copy."""
        of_fit = ("_controller", "_follower", "_has_joined")
        own = {name: value for name, value in vars(self).items() if name not in of_fit}
        before = {name: None for name in _OF_A_FIT if name in own}
        return {**own, **before, "best": self.best}

    def _open_destination(self, options: Any, arrivals: Arrivals) -> Destination:
        """Return where the checkpoints go; arrivals gets versions that arrive there later."""
        return open_destination(options, arrivals)

    def _make_resuming(self, options: Options, *, is_named: bool) -> Resuming:
        """Return what resumes the fits of this callback; raises InvalidCheckpoint."""
        raise NotImplementedError

    @property
    def _member(self) -> Controller | Follower:
        """What acts in this process."""
        if self._follower is None and not self._is_used:
            self._choose()
        return self._follower or self._controller

    def _choose(self) -> Group | None:
        """Make what acts in this process, by its rank; return the group of the process."""
        adapter, _, options = self._setup
        group = find_group(options.group, options.group_seconds)
        if group is None or group.is_first:
            self._follower = None
            _ = self._controller
        elif self._follower is None:  # it opens no destination
            from kept.training.follow.follower import Follower

            resuming = self._make_resuming(options, is_named=True)
            self._follower = Follower(self, adapter, options, resuming)
        return group

    def _joined(self) -> Controller | Follower:
        """Return what acts in this process, in a fit that has begun on all ranks.

        A loop that the user wrote may lack on_train_begin, and another callback that resumes calls
        hooks of this one before it. Then the first hook joins the group.
        """
        if not self._has_joined:
            self._has_joined = True
            group = self._choose()
            if group is not None:
                self._member.train_begin(group)
        return self._member

    @property
    def best(self) -> float | None:
        """The best value of the monitored metric so far; None if nothing was the best."""
        if not self._is_used:  # Keras's constructor reads and sets it
            return vars(self).get("best")
        return self._controller.best_value

    @best.setter
    def best(self, value: float | None) -> None:
        if not self._is_used:
            vars(self)["best"] = value  # _controller takes it over
        else:
            self._controller.best.value = value

    @property
    def name(self) -> str | None:
        """The artifact's name; None before the first fit if it was not given."""
        return self._follower.name if self._follower else self._controller.name.value

    @property
    def store(self) -> Store | None:
        """The store of the versions; None if they go to W&B alone."""
        return self._follower.store if self._follower else self._controller.parts.destination.store

    @property
    def versions(self) -> list[Version]:
        """The versions that this callback committed, oldest first, with their aliases of now.

        In object storage a checkpoint becomes a version when it arrives there.
        """
        return self._controller.parts.upkeep.versions_now() if self._is_used else []

    @property
    def skipped(self) -> int:
        """How many checkpoints on_busy="skip" skipped."""
        return self._controller.dropped if self._is_used else 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every checkpoint so far is durable, for up to timeout seconds.

        Returns whether they are; raises SaveFailed if one could not be saved.
        """
        return self._member.wait(timeout) if self._is_used or self._follower else True

    def close(self) -> None:
        """Wait as wait does, and free the memory of the snapshots."""
        if self._is_used or self._follower:
            self._member.close()

    @property
    def _is_used(self) -> bool:
        """Whether there is a controller; a copy that was not used has none, and saved nothing."""
        return "_controller" in vars(self)

    def set_model(self, model: Any) -> None:
        """Take the model that is trained; raises InvalidCheckpoint for one of another Keras."""
        check_model(self._setup[0], self, model)
        super().set_model(model)  # type: ignore[misc]  # Keras's, the next base

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Choose the artifact's name, and find out whether the store can be written."""
        super().on_train_begin(logs)  # type: ignore[misc]
        self._has_joined = True
        group = self._choose()
        self._member.train_begin(group)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch, for saves after batches."""
        super().on_epoch_begin(epoch, logs)  # type: ignore[misc]  # Keras's, the next base
        self._joined().epoch_begin(int(epoch))

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save if enough batches have passed since the last save."""
        self._joined().batch_end(int(batch), logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save with save_freq="epoch"."""
        self._joined().epoch_end(int(epoch), logs or {})

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Wait until every checkpoint is durable, and a while for mirrors that answer."""
        self._joined().train_end()
        self._has_joined = False

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run needs to know of this callback."""
        return self._member.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what get_state returned."""
        self._member.set_state(state)
