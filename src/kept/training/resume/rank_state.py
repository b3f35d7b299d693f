"""What each process of a run has of its own in the state of the run, and how it gets to a version.

All processes train one model, so most of their states are equal. A process after the first one
gives its part in one message, in the hook of the save (rank_message). The writer thread of the
first rank compares the parts with its own state and writes what differs beside it, as
kept-state.rank-1.json and .npz (write_rank_states). read_state puts both together.

Invariant: a message is small. An array of more than 1 MiB travels as its digest, because it is
usually the first rank's, too: the best weights of EarlyStopping. If it is not, no version holds it,
and the first rank reports that.
"""

from __future__ import annotations

import base64
import io
import json
import os
import weakref
import zipfile
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.digest import digest
from kept.errors import InvalidCheckpoint
from kept.messages import show_once
from kept.training.resume import callback_state, rng
from kept.training.resume.state import ARRAYS_FILE, FORMAT, FROM_FIRST, JSON_FILE, rank_files
from kept.training.resume.state_codec import Arrays, check_size, encode, npy_digest, write_arrays
from kept.training.resume.write_state import (
    as_text,
    run_content,
    value_of,
    variables_content,
    weights_content,
)
from kept.training.snapshot.variables import own_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import keras

    from kept.training.group.agreement import Agreement
    from kept.training.resume.state import State
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.snapshot import Snapshot

    Json = Any


_LARGE = 1 << 20  # bytes of an array that travels as its digest
_MOST = 8 << 20  # bytes of all other arrays of a message
_SMALL, _SAMPLE = 1 << 12, 64  # elements of a variable, and variables, that are compared
_known: dict[tuple[Any, ...], str] = {}  # digests of large arrays of callbacks that are alive


def rank_message(state: State, model: keras.Model) -> Json:
    """Return what this process, which is not the first one, has of its own in the run's state.

    The training thread calls it in the hook of the save. Values that span processes are the same
    for all of them, so they are not read. What cannot be written is an error of the first rank's
    write_rank_states.
    """
    arrays: Arrays = {}
    sample = None
    try:
        content = run_content(state, arrays)
        if not _spans_processes(model.variables):
            content |= variables_content(state, model, None, arrays)
            content["weights"] = weights_content(model, own_weights(model), None, arrays)
            sample = _sample(model, None)
        check_size(json.dumps(content).encode())
    except (InvalidCheckpoint, ValueError) as error:
        return {"error": str(error)}
    sent, total = {}, 0
    for name, array in arrays.items():
        if array.nbytes <= _LARGE and total + array.nbytes <= _MOST:
            sent[name] = base64.b64encode(_as_file(array)).decode()
            total += array.nbytes
    of_callbacks = {*_names_in(content["callbacks"])}
    digests = {
        name: _known_digest(array) if name in of_callbacks else npy_digest(array)
        for name, array in arrays.items()
    }
    return {"content": content, "digests": digests, "arrays": sent, "sample": sample}


def write_rank_states(
    messages: Sequence[Json], folder: str, model: keras.Model, snapshot: Snapshot | None
) -> list[str]:
    """Write what the ranks 1, 2, ... have of their own into folder; return the new paths.

    The first rank's state is already in folder. It gets the number of processes, and which fields
    each rank has of its own. A message of None gives nothing. Raises InvalidCheckpoint.
    """
    first = _First(folder, model, snapshot)
    paths, ranks = [], {}
    for rank, message in enumerate(messages, 1):
        if message and "error" in message:
            raise InvalidCheckpoint(f"rank {rank}: {message['error']}")
        found = _Part(first, rank, message).fields() if message else {}
        if found:
            ranks[str(rank)] = sorted(found)
            paths += _write(folder, rank, found, message["arrays"])
    content = {**first.content, "processes": len(messages) + 1, "ranks": ranks}
    with open(os.path.join(folder, JSON_FILE), "wb") as file:
        file.write(as_text(content))
    return paths


def lost_fields(state: State | None, agreement: Agreement) -> set[str]:
    """Return the fields that processes had of their own, and that are of no use now.

    With another number of processes each gets the state of the first one. Its random generators are
    of no use if those of the processes differ, because all would then draw the same numbers.
    """
    if state is None or state.processes == agreement.size:
        return set()
    is_same = agreement.is_same(rng.fingerprint(), "its random generators")
    own = {name for names in state.ranks.values() for name in names}
    return own if is_same else {*own, "random"}


class _First:
    """The state of the first rank, as its files have it, and its weights."""

    def __init__(self, folder: str, model: keras.Model, snapshot: Snapshot | None) -> None:
        with open(os.path.join(folder, JSON_FILE), "rb") as file:
            self.content: dict[str, Any] = json.loads(file.read())
        with zipfile.ZipFile(os.path.join(folder, ARRAYS_FILE)) as archive:
            self.digests = {
                name.removesuffix(".npy"): digest(archive.read(name)) for name in archive.namelist()
            }
        self.names = {found: name for name, found in self.digests.items()}
        self._model, self._snapshot = model, snapshot

    @cached_property
    def sample(self) -> str:
        """See _sample."""
        return _sample(self._model, self._snapshot)

    def field(self, name: str) -> Any:
        """Return a field with the digests of its arrays in place of their names."""
        return _renamed(self.content.get(name), self.digests)

    def weight(self, index: int) -> Any:
        """Return one of model.weights as a field."""
        arrays: Arrays = {}
        [[_, value]] = weights_content(self._model, [index], self._snapshot, arrays)
        return _renamed(value, {name: npy_digest(one) for name, one in arrays.items()})


class _Part:
    """The message of a rank, compared with the state of the first one."""

    def __init__(self, first: _First, rank: int, message: Json) -> None:
        self._first, self._rank, self._content = first, rank, message["content"]
        self._digests = message["digests"]
        self._places = {
            name: f"{FROM_FIRST}{first.names[one]}" if one in first.names else name
            for name, one in self._digests.items()
            if one in first.names or name in message["arrays"]
        }
        if message["sample"] is not None and message["sample"] != first.sample:
            show_once(
                f"rank {rank} trains other weights than rank 0, as if no process averages the "
                "gradients of all; versions hold the weights of rank 0"
            )

    def fields(self) -> dict[str, Any]:
        """Return the fields that differ from the first rank's."""
        found = {"callbacks": self._callbacks(), "weights": self._weights()}
        for name, value in self._content.items():
            if name not in found and self._field(value) != self._first.field(name):
                found[name] = self._placed(name, value)
        return {name: value for name, value in found.items() if value is not None}

    def _callbacks(self) -> list[Any] | None:
        """Return [name, state] of each callback, [name] if it has the first rank's state."""
        first = dict(self._first.field("callbacks"))
        found: list[Any] = []
        for name, state in self._content["callbacks"]:
            is_common = name in first and (
                self._field(state) == first[name] or _leaves_state_to_first(name, state)
            )
            placed = None if is_common else self._placed(name, state)
            if placed is not None or name in first:
                found.append([name] if placed is None else [name, placed])
        return None if found == [[name] for name in first] else found

    def _weights(self) -> list[Any] | None:
        own = [
            [index, self._placed(f"weight {index}", value)]
            for index, value in self._content.get("weights", ())
            if self._field(value) != self._first.weight(index)
        ]
        return [pair for pair in own if pair[1] is not None] or None

    def _field(self, value: Any) -> Any:
        return _renamed(value, self._digests)

    def _placed(self, name: str, value: Any) -> Any:
        """Return a value for the rank's file; report one whose arrays did not travel, as None."""
        try:
            return _renamed(value, self._places)
        except KeyError:
            show_once(
                f"versions do not hold {name} of rank {self._rank}: it has arrays of more than "
                f"{_LARGE >> 20} MiB that rank 0 does not have. A resumed run begins with that of "
                "rank 0"
            )
            return None


def _leaves_state_to_first(name: str, state: Any) -> bool:
    """Return whether the callback saves only, and so it has no state on this rank."""
    return callback_state.only_saves(name) and state == {"$dict": []}


def _write(folder: str, rank: int, fields: dict[str, Any], sent: Mapping[str, str]) -> list[str]:
    paths = [os.path.join(folder, name) for name in rank_files(rank)]
    names = [name for name in dict.fromkeys(_names_in(fields)) if name in sent]
    with open(paths[0], "xb") as file:
        file.write(as_text({"format": FORMAT, **fields}))
    write_arrays(paths[1], {name: _from_file(sent[name]) for name in names})
    return paths


def _spans_processes(variables: Iterable[Variable]) -> bool:
    """Return whether a variable has a value that several processes hold; only JAX has these."""
    return any(not getattr(one.value, "is_fully_addressable", True) for one in variables)


def _sample(model: keras.Model, snapshot: Snapshot | None) -> str:
    """Return a digest of the small trainable weights; equal weights have equal digests."""
    small = [v for v in model.trainable_variables if int(np.prod(v.shape)) <= _SMALL][:_SAMPLE]
    arrays: Arrays = {}
    for variable in small:
        encode(value_of(variable, snapshot), arrays)
    return digest(b"".join(_as_file(array) for array in arrays.values()))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return an encoded value with other names for its arrays; raises KeyError without a name."""
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return {"$array": {**value["$array"], "name": names[value["$array"]["name"]]}}
    return {kind: _renamed(content, names) for kind, content in value.items()}


def _names_in(value: Any) -> Iterator[str]:
    """Yield the names of the arrays in an encoded value."""
    if isinstance(value, dict) and "$array" in value:
        yield value["$array"]["name"]
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _names_in(item)


def _known_digest(array: np.ndarray[Any, Any]) -> str:
    """Return the digest of an array of a callback, remembered while the array lives if it is large.

    Keras's callbacks replace their arrays and never change them; of all others there is a copy.
    """
    if array.nbytes <= _LARGE:
        return npy_digest(array)
    owner = array.base if isinstance(array.base, np.ndarray) else array
    place = array.__array_interface__
    key = id(owner), place["data"][0], place["typestr"], array.shape, array.strides
    if key not in _known:
        _known[key] = npy_digest(array)
        weakref.finalize(owner, _known.pop, key).atexit = False
    return _known[key]


def _as_file(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array as the bytes of its .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def _from_file(text: str) -> np.ndarray[Any, Any]:
    file = io.BytesIO(base64.b64decode(text))
    found: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    return found
