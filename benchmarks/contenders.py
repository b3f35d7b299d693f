"""The callbacks that are compared, and what differs in handling them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import keras

import kept

if TYPE_CHECKING:
    from benchmarks.measure import WarmCopy

Callback = Any  # a keras.callbacks.Callback


class Contender:
    """A way of saving; a fresh one for each run. This one saves nothing."""

    name = "none"

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        """Return the callback, which is to put everything into the folder."""
        return keras.callbacks.Callback()

    def is_busy(self) -> bool:
        """Return whether something is being saved in the background."""
        return False

    def close(self) -> None:
        """Let go of everything."""


class Floor(Contender):
    """Copies as many bytes from host memory to host memory, at the same moments."""

    name = "warm copy"

    def __init__(self, copy: WarmCopy) -> None:
        self._copy = copy

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        return _Copying(self._copy, save_freq)


class _Copying(keras.callbacks.Callback):
    def __init__(self, copy: WarmCopy, save_freq: str | int) -> None:
        super().__init__()
        self._copy, self._save_freq = copy, save_freq

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if isinstance(self._save_freq, int) and (batch + 1) % self._save_freq == 0:
            self._copy()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._save_freq == "epoch":
            self._copy()


class Kept(Contender):
    """kept.ModelCheckpoint as it comes."""

    name = "kept"

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        self._callback = kept.ModelCheckpoint(
            os.path.join(folder, "model.keras"),
            monitor="loss",
            save_freq=save_freq,
            store=os.path.join(folder, "store"),
            name="bench",
        )
        return self._callback

    def is_busy(self) -> bool:
        return not self._callback.wait(0)

    def close(self) -> None:
        self._callback.close()


class KerasFile(Contender):
    """Keras's ModelCheckpoint with a .keras file."""

    name = "Keras ModelCheckpoint"

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        path = os.path.join(folder, "model.keras")
        return keras.callbacks.ModelCheckpoint(path, monitor="loss", save_freq=save_freq)


class Orbax(Contender):
    """Keras's OrbaxCheckpoint, asynchronous as it comes."""

    name = "Keras OrbaxCheckpoint"

    def __init__(self, most: int | None = None) -> None:
        self._most = most  # versions that stay; None leaves it to the callback

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        path = os.path.join(folder, "orbax")
        options = {"max_to_keep": self._most} if self._most else {}
        return keras.callbacks.OrbaxCheckpoint(path, monitor="loss", save_freq=save_freq, **options)


class WandB(Contender):
    """W&B's WandbModelCheckpoint, offline; it runs on TensorFlow only."""

    name = "W&B WandbModelCheckpoint"

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        for variable in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            os.environ[variable] = folder
        os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        import wandb
        from wandb.integration.keras import WandbModelCheckpoint

        self._run = wandb.init(project="bench")
        path = os.path.join(folder, "model.keras")
        return WandbModelCheckpoint(path, monitor="loss", save_freq=save_freq)

    def close(self) -> None:
        self._run.finish()


def peers() -> list[Contender]:
    """Return what kept is compared with on this framework."""
    found: list[Contender] = [KerasFile(), Orbax()]
    if keras.backend.backend() == "tensorflow":
        found.append(WandB())
    return found
