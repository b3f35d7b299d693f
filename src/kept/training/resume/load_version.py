"""Finds the version that a run continues from, and loads its weights into the model."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kept.errors import CannotResume, Damaged, NotFound
from kept.messages import show
from kept.names import parse_reference
from kept.store.loading import model_file
from kept.training.group.agreement import Agreement
from kept.training.keras_api.sharded.load_weights import (
    can_load_sharded,
    load_sharded,
    reads_ranges,
)
from kept.training.keras_api.sharded.version_file import download_others
from kept.training.resume import state as states
from kept.training.resume.read_state import read_state
from kept.training.snapshot import metadata
from kept.training.snapshot.variables import all_optimizers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import keras
    from keras.optimizers import Optimizer

    from kept.store.content.ranged_file import RangedFile
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.resume.state import State
    from kept.training.snapshot.frameworks import Variable

_WEIGHTS = ".weights.h5"
_ENDINGS = (".keras", ".h5", ".hdf5")
_NOT_LOADED = (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Found:
    """A version to continue from, its files checked."""

    version: Version
    state: State | None
    checkpoint: Path  # in folder
    folder: tempfile.TemporaryDirectory[str]
    ranged: RangedFile | None = None  # in place of the checkpoint, for weights across processes


def find(
    store: Store, reference: str, agreement: Agreement | None = None, model: keras.Model = None
) -> Found | None:
    """Return the version that reference names, None if the artifact has no version at all.

    If reference names the newest version and that is damaged, return the newest undamaged one and
    print what was wrong. In a group the first rank chooses, and all ranks open the same version. If
    the weights of the model are sharded across processes, only the blobs of them are looked up.
    Raises NotFound, Damaged or CannotResume.
    """
    agreement = agreement or Agreement()
    wanted = parse_reference(reference)
    newest = wanted.index is None and wanted.alias is None and wanted.digest is None
    candidates: list[Version] = []
    with agreement.step(f"find {reference}"):
        if agreement.is_first:
            candidates = _newest_first(store, wanted.name) if newest else [store.version(reference)]
    names = [[one.reference, one.digest, one.size] for one in candidates]
    names = agreement.choice(names, "the version that the run resumes")
    for index, (name, digest, size) in enumerate(names):
        try:
            with agreement.step(f"read {name}", size):
                version = candidates[index] if candidates else _version(store, name, digest)
                return _open(version, agreement, in_ranges=reads_ranges(model))
        except Damaged as error:
            if not newest:
                raise
            if agreement.is_first:
                show(f"{name} is damaged ({error}); trying the version before it")
    if not names:
        return None
    raise Damaged(f"All {len(names)} versions of {wanted.name} in {store.location} are damaged")


def load(found: Found, model: keras.Model, agreement: Agreement | None = None) -> None:
    """Load a version's weights and optimizer state into a compiled model of the same kind.

    No rank of a group loads any if the version does not fit the model of one. Raises CannotResume;
    if the version has a state, the model is then unchanged.
    """
    agreement = agreement or Agreement()
    with agreement.step(f"use {found.version.reference}"):
        unused = _fit(found, model)
    with agreement.step(f"load {found.version.reference}", found.version.size):
        for optimizer in unused:
            _make_new(optimizer)
        _load_weights(found, model, unused)
        state = found.state
        for exact in () if state is None else (state.unlike_file, state.weights):
            put([model.weights[n] for n, _ in exact], [value for _, value in exact], "weights")


def _fit(found: Found, model: keras.Model) -> list[Optimizer]:
    """Build what the version needs, and return the optimizers that it does not have.

    Raises CannotResume if it does not fit the model.
    """
    if not model.built and not model.weights:
        raise CannotResume(
            "The model is not built, so it has no variables for the weights. Build it with "
            f"model.build(input_shape) or call it on a batch first. Received: {model.name}"
        )
    unused = _build_optimizers(found.state, model)
    if found.state is not None:
        _check_fits(found, model, unused)
    return unused


def put(variables: Iterable[Variable], values: Iterable[Any], what: str) -> None:
    """Assign values to variables; raises CannotResume if they do not fit."""
    variables, values = list(variables), list(values)
    shapes = [tuple(v.shape) for v in variables], [tuple(value.shape) for value in values]
    if shapes[0] != shapes[1]:
        raise CannotResume(
            f"The version's {what} do not fit the model: expected {len(variables)} with the shapes "
            f"{shapes[0]}, found {len(values)} with {shapes[1]}"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _newest_first(store: Store, artifact: str) -> list[Version]:
    try:
        return store.versions(artifact)[::-1]
    except NotFound:
        return []


def _version(store: Store, reference: str, digest: str) -> Version:
    """Return the version that the first rank chose; raises CannotResume for another content."""
    found = store.version(reference)
    if found.digest != digest:
        raise CannotResume(
            f"{reference} in {store.location} is another version than that of rank 0: expected the "
            f"digest {digest}, found {found.digest}. All processes need the same store"
        )
    return found


def _open(version: Version, agreement: Agreement, *, in_ranges: bool) -> Found:
    path, ranged = _path_of_checkpoint(version), None
    folder = tempfile.TemporaryDirectory(prefix="kept-", ignore_cleanup_errors=True)
    checkpoint = Path(folder.name, path)
    if in_ranges and can_load_sharded(path):
        ranged = download_others(version, Path(folder.name), path)
        ranged.check(agreement.rank, agreement.size)
    else:
        version.download(folder.name)
    state = read_state(checkpoint.parent, agreement.rank, agreement.size)
    return Found(version, state, checkpoint, folder, ranged)


def _path_of_checkpoint(version: Version) -> str:
    """Return the path of a version's only checkpoint; raises CannotResume.

    A state has to lie beside the checkpoint.
    """
    paths = [file.path for file in version.files]
    found = [p for p in paths if p.endswith(_WEIGHTS)] or [p for p in paths if p.endswith(_ENDINGS)]
    if len(found) != 1:
        raise CannotResume(
            f"{version.reference} does not hold exactly one checkpoint (.keras, .h5 or "
            f".weights.h5). It holds: {', '.join(paths)}"
        )
    beside = str(PurePosixPath(found[0]).with_name(states.JSON_FILE))
    elsewhere = [p for p in paths if PurePosixPath(p).name == states.JSON_FILE and p != beside]
    if elsewhere:
        raise CannotResume(
            f"{version.reference} holds a state that does not lie beside its checkpoint: "
            f"{elsewhere[0]}, and the checkpoint is {found[0]}. Put them into one folder"
        )
    return found[0]


def _build_optimizers(state: State | None, model: keras.Model) -> list[Optimizer]:
    """Build the optimizers that were built in the saved run, each with the weights it trained.

    Return those that are built here and were not built in the saved run: they had made no step. A
    version without this list has one optimizer, that of compile, for all weights.
    """
    optimizers = all_optimizers(model)
    trained = None if state is None else state.optimizers
    if state is None or trained is None or len(trained) != len(optimizers):
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(model.trainable_variables)
        return []
    weights = model.weights
    if len(weights) != len(state.model):
        return []  # _check_fits names the difference
    pairs = list(zip(optimizers, trained, strict=True))
    for optimizer, indices in pairs:
        if indices and not optimizer.built:
            optimizer.build([weights[index] for index in indices])
    return [optimizer for optimizer, indices in pairs if indices == [] and optimizer.built]


def _make_new(optimizer: Optimizer) -> None:
    """Give an optimizer the values that it had before its first step."""
    new = type(optimizer).from_config(optimizer.get_config())
    new.build(metadata.built_with(optimizer))
    for variable, value in zip(optimizer.variables, new.variables, strict=True):
        variable.assign(value)


def _check_fits(found: Found, model: keras.Model, unused: list[Optimizer]) -> None:
    state, name = found.state, found.version.reference
    assert state is not None
    now = metadata.variables_metadata(model.weights)
    _compare(state.model, now, f"{name} is of another model")
    if state.optimizer:
        now = metadata.optimizer_metadata(model)
        if state.optimizer[:1] != now[:1]:
            raise CannotResume(
                f"{name} was trained with the optimizer {state.optimizer[0]}. Compile the model "
                f"with that one. Received: {now[0] if now else 'a model that is not compiled'}"
            )
        if not any(model.optimizer is one for one in unused):
            _compare(state.optimizer[1:], now[1:], f"{name} is of another {now[0]}")


def _compare(saved: list[Any], now: list[Any], problem: str) -> None:
    """Compare shapes in order; names may differ, because Keras numbers layers in a process."""
    for before, after in zip(saved, now, strict=False):
        if before[1] != after[1]:
            raise CannotResume(
                f"{problem}: {before[0]} of the version has the shape {tuple(before[1])}. "
                f"Received: {after[0]} with the shape {tuple(after[1])}"
            )
    if len(saved) != len(now):
        first = (saved if len(saved) > len(now) else now)[min(len(saved), len(now))]
        raise CannotResume(
            f"{problem}: it has {len(saved)} variables. Received: {len(now)}; the first variable "
            f"that only one of them has is {first[0]}"
        )


@contextlib.contextmanager
def _built(model: keras.Model) -> Iterator[None]:
    """Let Keras load into a model whose parts are built, although it was never called itself.

    TensorFlow trains a GAN without call() that way.
    """
    before = model.built
    model.built = True
    try:
        yield
    finally:
        model.built = before


def _load_weights(found: Found, model: keras.Model, unused: list[Optimizer]) -> None:
    """Load the checkpoint; print what Keras only warns of: optimizers that it skips.

    Raises CannotResume.
    """
    from kept.training.keras_api.private_api import fill_saving_cache

    fill_saving_cache()  # Keras would make variables for it, which takes all ranks
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with _built(model):
                if found.ranged is not None:
                    load_sharded(found.ranged, model)
                else:
                    model_file.check_weights(found.checkpoint)
                    model.load_weights(found.checkpoint)
        except _NOT_LOADED as error:
            raise CannotResume(
                f"{found.version.reference} cannot be loaded into {model.name}: {error}"
            ) from error
    skipped = [str(w.message).strip() for w in caught if "optimizer" in str(w.message)]
    for message in skipped:
        if not any(f"'{one.name}'" in message for one in unused):
            show(f"The optimizer's state was not restored, so the results differ: {message}")
    if found.checkpoint.name.endswith(".h5") and not found.checkpoint.name.endswith(_WEIGHTS):
        why = "Keras reads the old .h5 format without the optimizer's state"
        show(f"The optimizer's state was not restored: {why}")
        if found.state is not None and found.state.optimizer:
            raise CannotResume(
                f"{found.version.reference}: {why}. Save .keras or .weights.h5 files"
            )
