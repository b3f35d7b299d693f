"""A forged or damaged state is Damaged, or of a newer kept; no value of it reaches other code."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kept
from kept.errors import CannotResume, Damaged, InvalidCheckpoint
from kept.training.resume import callback_state, rng
from kept.training.resume.read_state import read_state
from kept.training.resume.state import ARRAYS_FILE, JSON_FILE, Recorder
from kept.training.resume.state_codec import read_arrays
from kept.training.resume.write_state import write_state
from tests.training import helpers
from tests.training.data.fake_fit import fit_of

pytestmark = pytest.mark.any_framework
STATES = sorted((Path(__file__).parents[2] / "data/states").iterdir())
ARRAY = {"name": "a0", "dtype": "uint32", "scalar": False}
WRONG = [
    *(None, True, False, 0, 1, -1, -7, 625, 2**63, 10**30, 1.5, "", "x", "\x1b[2J", [], [1], ["a"]),
    *({}, {"a": 1}, {"$dict": []}, {"$dict": [["a", 1]]}, {"$dict": [[{"$dict": []}, 1]]}),
    *({"$float": "nan"}, {"$float": "x"}, {"$tuple": []}, {"$tuple": 1}),
    *({"$array": ARRAY}, {"$array": ARRAY | {"scalar": True}}, {"$array": ARRAY | {"name": "a4"}}),
    *({"$array": ARRAY | {"dtype": "object"}}, {"$array": ARRAY | {"dtype": "bfloat16"}}),
    *({"$array": ARRAY | {"name": "../a0"}}, {"$array": 1}, [[[1]]], "MT19937", "torch"),
]


def places(value, path=()):
    """The paths to all values inside a value."""
    yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            yield from places(item, (*path, key))


def replaced(value, path, new):
    found = copy.deepcopy(value)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return found


def removed(value, path):
    found = copy.deepcopy(value)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return found


class Owner(keras.callbacks.Callback):
    """A callback that saves."""


def known():
    """A callback of each kind that Keras has a state for."""
    made = [
        keras.callbacks.EarlyStopping(restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.History(),
        keras.callbacks.ModelCheckpoint("m.keras"),
        kept.ModelCheckpoint("n.keras", name="n"),
    ]
    return dict(zip(callback_state.named(made), made, strict=True))


@pytest.fixture
def full(tmp_path):
    """The folder of a state that has all fields."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    model.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=0)  # which builds the metrics
    owner = Owner()
    owner.set_model(model)
    recorder = Recorder(owner, list(known().values()))
    fit = fit_of("ArrayDataAdapter", batch_size=8, epochs={"num_batches": 5})
    recorder.begin(fit, 0)
    recorder.epoch_begin(2)
    state = recorder.capture(2, 3, {"loss": 0.5, "mae": np.float32(1)})
    state.callbacks["EarlyStopping"]["best_weights"] = [np.ones(3, "float32")]
    state.data["own"] = {"generators": [np.zeros(16, "uint8")]}
    write_state(state, model, str(tmp_path), None)
    return tmp_path


def tried(folder):
    """Read a state and use it; return the state, None if it is refused."""
    try:
        found = read_state(folder)
    except (Damaged, CannotResume):
        return None
    assert found is not None
    rng.restore(found.random)
    if found.random_at_epoch is not None:
        rng.restore(found.random_at_epoch)
    for name, callback in known().items():
        if name in found.callbacks and callback_state.belongs(callback, found.callbacks[name]):
            with contextlib.suppress(Damaged):
                callback_state.set_state(callback, found.callbacks[name])
    assert 0 <= found.first_epoch <= found.epoch
    assert found.batch is None or found.batch >= 0
    return found


def test_a_full_state_is_read(full):
    found = tried(full)
    assert (found.epoch, found.batch, found.first_epoch) == (2, 3, 0)
    assert set(found.callbacks) == set(known())


def forge_each_value(folder, wrong):
    """Replace each value by wrong(its number), and use the state; return refused, read."""
    content = json.loads((folder / JSON_FILE).read_text())
    counts = Counter()
    for number, path in enumerate(list(places(content))[1:]):
        for one in (removed(content, path), *(replaced(content, path, w) for w in wrong(number))):
            (folder / JSON_FILE).write_text(json.dumps(one))
            counts[tried(folder) is None] += 1
    print(f"{counts[True]} refused, {counts[False]} read")
    return counts[True], counts[False]


def test_each_value_replaced_by_some_wrong_ones(full):
    """No other error than the two, from reading the state or from using it."""
    refused, read = forge_each_value(
        full, lambda n: [WRONG[(3 * n + i) % len(WRONG)] for i in (0, 1, 2)]
    )
    assert refused > 5 * read


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a state of TensorFlow")
@pytest.mark.parametrize("wrong", [np.zeros(625, "uint32"), np.zeros(3, "int32"), np.zeros(4)])
def test_a_generator_of_another_shape_is_refused(wrong):
    import tensorflow as tf

    state = {"seed": 1, "generator": tf.random.get_global_generator().state.numpy()}
    rng._check_tensorflow(state)
    with pytest.raises(ValueError, match="generator"):
        rng._check_tensorflow(state | {"generator": wrong})


@pytest.mark.integration
@pytest.mark.parametrize("source", ["full", *(folder.name for folder in STATES)])
def test_each_value_replaced_by_each_wrong_one(full, source):
    if source != "full":
        for name in (JSON_FILE, ARRAYS_FILE):
            shutil.copy(STATES[0].parent / source / name, full / name)
    refused, read = forge_each_value(full, lambda _: WRONG)
    assert refused > 5 * read


@pytest.mark.parametrize("source", STATES, ids=lambda folder: folder.name)
def test_a_state_of_today_is_read(source):
    assert tried(source).epoch == 1


DAMAGED = [
    ("epoch", -7),
    ("epoch", True),
    ("epoch", 1.0),
    ("epoch", 2**60),
    ("epoch", None),
    ("batch", -1),
    ("batch", "3"),
    ("framework", "abacus"),
    ("framework", ["jax"]),
    ("keras_version", "\x1b[2J"),
    ("keras_version", None),
    ("stopped", 1),
    ("hidden_noise", "RandomNormal"),
    ("hidden_noise", ["\x1b[2J"]),
    ("unsaved", "layer"),
    ("unsaved", ["\x1b[2J"]),
    ("devices", 1),
    ("devices", "\x1b[2J"),
    ("unfinished", ["Unknown"]),
    ("unfinished", "History"),
    ("callbacks", {}),
    ("callbacks", [["History", {"$dict": []}], ["History", {"$dict": []}]]),
    ("model", [["kernel", [-3, 2], "float32"]]),
    ("model", [["kernel", 3, "float32"]]),
    ("optimizer", [3]),
    ("optimizer", "Adam"),
    ("optimizer", ["\x1b[2J"]),
    ("model", [["\x1b[2J", [3], "float32"]]),
    ("callbacks", [["\x1b[2J", 1]]),
    ("seeds", [1.0]),
    ("metrics", {"$dict": []}),
    ("logs", []),
    ("logs", {"$dict": [[1, 2]]}),
    ("random", None),
    ("random_at_epoch", 1),
    ("data", {"$dict": [["first_epoch", 9]]}),
    ("data", None),
    ("format", True),
    ("format", 0),
    ("format", "1"),
]


@pytest.mark.parametrize(("field", "value"), DAMAGED, ids=str)
def test_a_field_of_another_type_or_range_is_damaged(full, field, value):
    content = json.loads((full / JSON_FILE).read_text())
    (full / JSON_FILE).write_text(json.dumps(content | {field: value}))
    with pytest.raises(Damaged, match="is not a state"):
        read_state(full)


def test_a_newer_format_is_no_damage(full):
    (full / JSON_FILE).write_text('{"format": 2}')
    with pytest.raises(CannotResume, match="Update kept"):
        read_state(full)


def test_a_generator_s_position_outside_its_words_is_damaged(full):
    """NumPy would read the memory behind them."""
    content = json.loads((full / JSON_FILE).read_text())
    text = json.dumps(content["random"]["$dict"])
    for position in (625, 10**6, -1):
        changed = json.loads(text)
        numpy = next(pair for pair in changed if pair[0] == "numpy")
        numpy[1][2] = position
        (full / JSON_FILE).write_text(json.dumps(content | {"random": {"$dict": changed}}))
        with pytest.raises(Damaged, match="numpy has a wrong type or range"):
            read_state(full)


class TestCallbacksOfTheUser:
    def test_one_with_the_name_of_keras_s_is_not_checked(self):
        callback_state.check_named("EarlyStopping", {"anything": object()})
        callback_state.check_named("Other", {"wait": "x"})

    def test_keras_s_are_checked_by_their_class_too(self):
        class Mine(keras.callbacks.EarlyStopping):
            pass

        with pytest.raises(Damaged, match=r"Mine\.wait has a wrong type or range"):
            callback_state.set_state(Mine(), {"wait": "x"})


@pytest.mark.parametrize("name", [JSON_FILE, ARRAYS_FILE])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_changed_bytes(name, data):
    source = STATES[-1]
    folder = Path("changed")
    folder.mkdir(exist_ok=True)
    for one in (JSON_FILE, ARRAYS_FILE):
        shutil.copy(source / one, folder / one)
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    (folder / name).write_bytes(content[:cut])
    tried(folder)


# --- bounds ---------------------------------------------------------------------------------------


def npy(shape, data=b"", descr="<f8"):
    header = io.BytesIO()
    declared = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, declared)
    return header.getvalue() + data


def archive(*members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for number, content in enumerate(members):
            file.writestr(f"a{number}.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archive(npy((2**30,))),
        archive(npy((2**62, 2**62))),
        archive(npy((-1,), b"01234567")),
        archive(npy((2,), b"01234567")),
        archive(npy((1,), b"0123456789")),
        archive(npy((True,), b"01234567")),
        archive(npy((1,), b"01234567", "|O")),
        archive(npy((1,), b"01234567", "<M8[s]")),
        archive(npy((1,), b"01234567", [("a", "<f8")])),
        archive(npy((2**20,), bytes(2**23)), compression=zipfile.ZIP_DEFLATED),
        archive(b"\x93NUMPY\x03\0" + npy((1,), b"01234567")[8:]),
        archive(b"\x93NUMPY\x01\0\xff\xff"),
        archive(b""),
        b"",
        b"PK\5\6" + bytes(18) + b"PK\1\2" * 200_000,
    ],
    ids=range(15),
)
def test_arrays_that_are_not_what_they_declare(data):
    with pytest.raises(Damaged, match="Cannot read the arrays of a state"):
        read_arrays(data)


def test_json_that_needs_too_much_memory(full):
    (full / JSON_FILE).write_text('{"format": 1, "a": [' + "[]," * 1_000_000 + "[]]}")
    with pytest.raises(Damaged, match="lists; expected up to"):
        read_state(full)


def test_a_state_that_no_run_could_read_is_not_written(full):
    class Verbose(Owner):
        def get_state(self):
            return {"text": "x" * 40_000_000}

        def set_state(self, state):
            raise AssertionError

    owner = Verbose()
    owner.set_model(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    state = Recorder(owner, [owner]).capture(0, None, {})
    folder = full / "new"
    folder.mkdir()
    with pytest.raises(InvalidCheckpoint, match="the JSON of the state has"):
        write_state(state, owner.model, str(folder), None)


CHILD = """
import resource, pathlib, sys, keras
from kept.errors import Damaged
from kept.training.resume.read_state import read_state
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (size, size))
for folder in sys.argv[1:]:
    try:
        read_state(pathlib.Path(folder))
    except Damaged as error:
        print("damaged", error)
"""


def test_memory_stays_bounded(full):
    """512 MiB suffice for files that ask for gigabytes."""
    huge = io.BytesIO()
    with (
        zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("a0.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy((2**27,)))
        for _ in range(2**4):
            member.write(bytes(2**26))
    content = json.loads((full / JSON_FILE).read_text())
    forged = {
        "header": (json.dumps(content), archive(npy((2**30,)))),
        "compressed": (json.dumps(content), huge.getvalue()),
        "lists": ('{"format": 1, "a": [' + "[]," * 10_000_000 + "[]]}", b""),
    }
    for name, (text, data) in forged.items():
        Path(name).mkdir()
        Path(name, JSON_FILE).write_text(text)
        Path(name, ARRAYS_FILE).write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", CHILD, *forged], capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in run.stdout.splitlines()] == ["damaged"] * 3, run


# --- the way back ---------------------------------------------------------------------------------


def test_a_run_resumes_from_the_version_before_a_forged_one(store, data, capsys):
    first = kept.ModelCheckpoint("m.keras", name="m", store=store, resume=True)
    helpers.fit(helpers.make_model(), data, first, epochs=1)
    folder = store.version("m").download("forged")
    content = json.loads((folder / JSON_FILE).read_text())
    (folder / JSON_FILE).write_text(json.dumps(content | {"epoch": -7}))
    store.log_artifact("m", [folder / name for name in ("m.keras", JSON_FILE, ARRAYS_FILE)])
    again = kept.ModelCheckpoint("m.keras", name="m", store=store, resume=True)
    helpers.fit(helpers.make_model(), data, again, epochs=2)
    printed = capsys.readouterr().out
    assert "m:v1 is damaged (kept-state.json is not a state: ValueError: epoch" in printed
    assert "continuing from m:v0 with epoch 2" in printed
    assert [version.metadata["epoch"] for version in again.versions] == [1]


def test_no_position_is_searched_beyond_the_epochs_of_the_fit(store, data, capsys):
    """A forged epoch could ask for years of reading."""
    first = kept.ModelCheckpoint("m.keras", name="m", store=store, save_freq=1)
    helpers.fit(helpers.make_model(), data, first, epochs=1)
    folder = store["m:v1"].download("forged")
    content = json.loads((folder / JSON_FILE).read_text())
    (folder / JSON_FILE).write_text(json.dumps(content | {"epoch": 2**53, "batch": 2**53}))
    store.log_artifact("n", [folder / name for name in ("m.keras", JSON_FILE, ARRAYS_FILE)])
    model = helpers.make_model()
    history = helpers.fit(model, data, kept.resume(model, "n", store=store), epochs=2)
    assert "nothing is left to train" in capsys.readouterr().out
    assert history.epoch == []


def test_a_checkpoint_that_reads_other_files_is_not_loaded(store):
    from tests.training import attacks

    attacks.SECRET.write_text("word\n")
    Path("m.weights.h5").write_bytes(attacks.weights(attacks.external_data))
    store.log_artifact("m", "m.weights.h5")
    with pytest.raises(CannotResume, match="takes its data from another file"):
        kept.resume(helpers.make_model(), "m", store=store)
