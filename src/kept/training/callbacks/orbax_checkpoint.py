"""The callback for those who save with Orbax: Keras's OrbaxCheckpoint, whose steps become versions.

Orbax writes, in all processes of the run; kept takes each finished step into a store, in the first
process, on the writer thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import keras

from kept.errors import InvalidCheckpoint
from kept.messages import show_once
from kept.store.display.displayed import DisplayedRun
from kept.training.callbacks.orbax_engine import Engine
from kept.training.callbacks.orbax_versions import OrbaxSaves, OrbaxVersions
from kept.training.callbacks.signature import unknown_argument
from kept.training.data.live_progress import LiveProgress
from kept.training.decide.moment import Moment
from kept.training.group.open import find_group
from kept.training.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

    from kept.store.origin.links import Source
    from kept.store.retention.keep import Keep
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.sync.mirror.mirrors import Where

    Logs = Mapping[str, Any]

_SECONDS = 60.0  # that the processes of a run wait for each other
_BASE: Any = getattr(keras.callbacks, "OrbaxCheckpoint", keras.callbacks.Callback)


class OrbaxOptions(TypedDict, total=False):
    """The keyword arguments besides those of Keras."""

    store: Store | str | os.PathLike[str] | None
    name: str | None
    mirror: Where | Iterable[Where] | None
    keep: Keep | None
    gc: str | float | timedelta | None
    aliases: Sequence[str]
    metadata: Mapping[str, Any] | None
    on_error: str
    uses: Sequence[str | Source | Version]
    capture: bool
    on_commit: Callable[[Version], Mapping[str, Any] | None] | None


class OrbaxCheckpoint(DisplayedRun, _BASE):  # type: ignore[misc]  # Keras is untyped
    """Keras's OrbaxCheckpoint that makes each finished step a version of an artifact.

    Orbax saves into directory as with Keras's callback: in the background, and in all processes of
    a JAX run. The first process commits each step that Orbax has finished, with the aliases
    epoch_<n> or epoch_<n>_batch_<b>, and best, and with the metadata of kept.ModelCheckpoint.
    version.download gives a folder with the same bytes, which keras.saving.load_model,
    model.load_weights, Orbax and this callback take.

    Each tensor is written into files of its own (no OCDBT), so what did not change is stored once.
    max_to_keep concerns directory alone; keep= decides which versions stay. fit returns when every
    step is committed. If the process is killed before that, the next fit with this directory and
    the same name takes the finished steps that are no versions.

    Args:
        directory: Orbax's folder of steps, on a disk that all processes see.
        monitor: The metric that decides what is best.
        verbose: As in Keras.
        save_best_only: Save only if the metric improved. A NaN is never best.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: A value the metric must beat to be the best.
        max_to_keep: How many steps Orbax keeps in directory; None for all.
        save_on_background: Save while training continues.
        save_weights_only: Save the weights alone, without optimizer and configuration.
        more: store, name, mirror, keep, gc, aliases, metadata, on_error, uses, capture and
            on_commit, as in kept.ModelCheckpoint.

    Raises:
        InvalidCheckpoint: An argument cannot work, or Keras has no OrbaxCheckpoint.
        ImportError: orbax-checkpoint is missing.
        NotAStore, NewerFormat: The location cannot be used as a store.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Keras's signature
        self,
        directory: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,  # noqa: FBT001, FBT002
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        max_to_keep: int | None = 1,
        save_on_background: bool = True,  # noqa: FBT001, FBT002
        save_weights_only: bool = False,  # noqa: FBT001, FBT002
        **more: Unpack[OrbaxOptions],
    ) -> None:
        options = _checked(more)
        _check_installed()
        folder = _checked_folder(directory)
        super().__init__(
            folder,
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
            max_to_keep=max_to_keep,
            save_on_background=save_on_background,
            save_weights_only=save_weights_only,
        )
        self._versions = OrbaxVersions(folder, options) if self.is_primary_host() else None
        self._saves = OrbaxSaves(self, options, self._versions)
        self._epoch = 0
        self._live = LiveProgress(self)
        engine = Engine(self.checkpointer, self._saves)
        self.checkpointer: Any = engine  # Orbax's, as kept uses it

    @property
    def name(self) -> str | None:
        """The artifact's name; None before the first fit, or in another process than the first."""
        return self._versions.name if self._versions else None

    @property
    def store(self) -> Store | None:
        """The store of the versions; None in another process than the first."""
        return self._versions.store if self._versions else None

    @property
    def versions(self) -> list[Version]:
        """The versions that this callback committed, oldest first, with their aliases of now."""
        return self._versions.now() if self._versions else []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every step so far is committed, for up to timeout seconds.

        Returns whether they are; raises SaveFailed if one could not be saved.
        """
        return self._versions.wait(timeout) if self._versions else True

    def wait_until_finished(self) -> None:
        """Wait until Orbax has finished every step, and it is committed; raises SaveFailed."""
        # Keras notes None for a step that Orbax left out, and then fails to wait for it.
        self._async_futures: list[Any] = [one for one in self._async_futures if one is not None]
        super().wait_until_finished()
        self.wait()

    # --- hooks of the fit -------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Take the model that is trained; raises InvalidCheckpoint for one of tf_keras."""
        if not self._saves.adapter.owns(model):
            raise InvalidCheckpoint(
                "kept.OrbaxCheckpoint is a callback of Keras 3, because tf_keras has none for "
                "Orbax. With tf_keras, use kept.ModelCheckpoint. "
                f"Received: {type(model).__module__}.{type(model).__name__}"
            )
        super().set_model(model)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Choose the artifact's name, and take the finished steps that are no versions.

        Raises InvalidCheckpoint for several processes on torch or TensorFlow.
        """
        super().on_train_begin(logs)
        _check_processes(self._saves.adapter.framework)
        _report_unloadable(self.model)
        if self._versions:
            self._versions.begin(self)
            framework = self._saves.adapter.framework
            self._live.begin(self.store, str(self.name), framework)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch, for saves after batches."""
        super().on_epoch_begin(epoch, logs)
        self._epoch = int(epoch)
        self._live.epoch(self._epoch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save if enough batches have passed since the last save."""
        self._report()
        self._saves.moment = Moment(self._epoch, int(batch), logs or {})
        self._live.batch(self._epoch, int(batch), logs or {})
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save with save_freq="epoch"."""
        self._report()
        self._saves.moment = Moment(int(epoch), None, logs or {})
        self._live.epoch_end(int(epoch), logs or {})
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait until Orbax has finished every step, and it is committed."""
        super().on_train_end(logs)
        self._live.end()
        self._saves.moment = None
        if self._versions:
            self._versions.finish()

    def _is_improvement(self, value: Any, best: Any) -> bool:
        """Return whether a value beats the best so far.

        Keras's own method fails at the second save with a number of batches as save_freq, and a
        NaN of the first epoch stays its best value.
        """
        return self._saves.metric(value).is_better_than(best)

    def _report(self) -> None:
        if self._versions:
            self._versions.report()


def _checked(more: Mapping[str, Any]) -> Options:
    """Return the options; raises InvalidInput, or TypeError for an unknown one."""
    known = set(OrbaxOptions.__annotations__)
    for name, value in more.items():
        if name not in known:
            raise unknown_argument(OrbaxCheckpoint, name, value, known)
    return Options(**more)


def _check_installed() -> None:
    if _BASE is keras.callbacks.Callback:
        raise InvalidCheckpoint(
            f"Keras {keras.__version__} has no OrbaxCheckpoint; Keras 3.15 has one. Install it: "
            "pip install --upgrade keras, or use kept.ModelCheckpoint"
        )
    try:
        import orbax.checkpoint  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "kept.OrbaxCheckpoint needs Orbax, which is not installed: "
            "pip install orbax-checkpoint, or pip install 'kept[orbax]'",
            name="orbax.checkpoint",
        ) from error


def _check_processes(framework: str) -> None:
    if framework != "jax" and (group := find_group(None, _SECONDS)) is not None:
        raise InvalidCheckpoint(
            "Orbax saves a model from several processes on JAX only; each of these would write "
            f"all files. Use kept.ModelCheckpoint. Received: {group.size} processes on {framework}"
        )


def _report_unloadable(model: Any) -> None:
    """Report a Sequential model: Keras saves its weights under other paths than it loads.

    load_model then leaves the weights as a new model has them, and reports nothing (Keras 3.15).
    """
    for one in (model, *getattr(model, "layers", ())):
        is_named = any(v.path.startswith(f"{one.name}/") for v in one.variables)
        if isinstance(one, keras.Sequential) and is_named:
            show_once(
                f"Keras's load_model does not find the weights of the Sequential model "
                f"{one.name!r} in a folder of Orbax. Build the model by the same code, and use "
                "load_weights; or build it with keras.Model(inputs, outputs)"
            )


def _checked_folder(directory: str | os.PathLike[str]) -> str:
    if "://" in os.fspath(directory):
        raise InvalidCheckpoint(
            "directory is a folder on a disk, from which kept takes the steps; for versions in "
            f"object storage pass store= too. Received: directory={os.fspath(directory)!r}"
        )
    return os.path.abspath(directory)
