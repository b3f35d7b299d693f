"""What cannot work is refused where it is said, not after an epoch of work."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import kept
from kept.errors import InvalidCheckpoint, InvalidName, NotAStore, Unreadable
from kept.training.callbacks import signature
from tests.training.helpers import fit

pytestmark = pytest.mark.any_framework

BAD_PATHS = [
    ("", "not empty"),
    (b"m.keras", "a text or a path"),
    ("s3://bucket/m.keras", "store says where"),
    ("m.ckpt", "must end in .keras"),
    ("m.keras.zip", "must end in .keras"),
    ("m_{epoch.keras", "expected '}'"),
    ("m_}.keras", "Single '}'"),
    ("m_{}.keras", "an option needs a name"),
    ("m_{0}.keras", "an option needs a name"),
    ("m_{epoch:02q}.keras", "{epoch:02q}"),
    ("m_{epoch+1}.keras", "{epoch+1} is unknown"),
    ("m_{epoch:.2d}.keras", "{epoch:.2d}"),
    ("m_{val_loss:d}.keras", "{val_loss:d}"),
    ("m_{batch}.keras", "only with an integer save_freq"),
    ("m_{epoch.size}.keras", "an option needs a name"),
    ("m_{logs[val_loss]}.keras", "an option needs a name"),
    ("m\x00.keras", "255 bytes"),
    ("x" * 300 + ".keras", "255"),
    ("folder.keras", "it is a folder"),
    ("file/m.keras", "nothing can be written"),
    ("file/{epoch}/m.keras", "nothing can be written"),
]


@pytest.mark.parametrize(("filepath", "reason"), BAD_PATHS)
def test_filepath(filepath, reason):
    Path("folder.keras").mkdir()
    Path("file").write_text("in the way")
    with pytest.raises(InvalidCheckpoint) as caught:
        kept.ModelCheckpoint(filepath)
    assert reason in str(caught.value)
    assert f"Received: filepath={filepath!r}" in str(caught.value)


@pytest.mark.parametrize("filepath", ["m.keras", "m.h5", "m_{epoch}.keras"])
def test_weights_only_needs_its_own_ending(filepath):
    with pytest.raises(InvalidCheckpoint, match=r"must end in \.weights\.h5.*Received: "):
        kept.ModelCheckpoint(filepath, save_weights_only=True)


@pytest.mark.parametrize(
    "filepath",
    [
        Path("m.keras"),
        "new/folders/{epoch}/m.keras",
        "m_{epoch:03d}_{val_loss:.4f}_{my-metric:>8}.keras",
        "{{braces}}.keras",
        "m {epoch!r}.h5",
    ],
)
def test_filepaths_that_are_fine(filepath):
    assert kept.ModelCheckpoint(filepath).filepath == str(filepath)


@pytest.mark.parametrize(
    "options",
    [
        {"save_freq": 0},
        {"save_freq": -1},
        {"save_freq": 1.5},
        {"save_freq": True},
        {"save_freq": None},
        {"save_freq": "batch"},
        {"on_busy": "drop"},
        {"on_busy": None},
    ],
)
def test_options(options):
    with pytest.raises(InvalidCheckpoint) as caught:
        kept.ModelCheckpoint("m.keras", **options)
    ((option, value),) = options.items()
    assert f"Received: {option}={value!r}" in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "..", "a:b", "x" * 129, 3])
def test_name(name):
    with pytest.raises(InvalidName, match="Received: "):
        kept.ModelCheckpoint("m.keras", name=name)


def test_a_store_that_is_a_folder_of_other_things():
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_bytes(b"meow")
    with pytest.raises(NotAStore, match=r"cat\.jpg"):
        kept.ModelCheckpoint("m.keras", store="photos")
    assert [p.name for p in Path("photos").iterdir()] == ["cat.jpg"]


def test_a_store_that_cannot_be_written_is_found_before_the_first_batch(data, model):
    """Permissions mean nothing to root, so a file is put where the folder would be made."""
    callback = kept.ModelCheckpoint("m.keras", store="here/store")
    Path("here").write_text("in the way")
    before = int(model.optimizer.iterations)
    with pytest.raises(Unreadable, match="here is a file, expected a folder"):
        fit(model, data, callback)
    assert int(model.optimizer.iterations) == before


def test_a_metric_of_the_path_that_never_comes(data, model):
    with pytest.raises(InvalidCheckpoint) as caught:
        fit(model, data, kept.ModelCheckpoint("m_{val_loss}.keras"))
    assert "Available: accuracy, epoch, loss" in str(caught.value)
    assert "Received: filepath='m_{val_loss}.keras'" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_to_keep": 5}, "pass keep=kept.Keep(last=5)."),
        ({"save_total_limit": 3}, "pass keep=kept.Keep(last=3)."),
        ({"keep_checkpoint_max": "many"}, "pass keep=kept.Keep(last='many')."),
        ({"save_top_k": 2}, "pass keep=kept.Keep(best=2)."),
        ({"save_top_k": -1}, "without keep= all versions stay."),
        ({"max_to_keep": None}, "without keep= all versions stay."),
        ({"every_n_epochs": 10}, "pass keep=kept.Keep(every='10 epochs'), or save_freq"),
        ({"period": 10}, "pass keep=kept.Keep(every='10 epochs'), or save_freq"),
        ({"save_last": True}, "leave it out: the newest version always stays"),
        ({"tags": ["good"]}, "leave it out: a version gets tags later: version.update(tags=["),
        ({"save_steps": 100}, "pass save_freq=100."),
        ({"train_time_interval": object()}, "pass save_every=…."),
        ({"load_weights_on_restart": True}, "pass resume=True."),
        ({"montior": "loss"}, "Did you mean 'monitor'?"),
        ({"mirrror": "x"}, "Did you mean 'mirror'?"),
        ({"xyzzy": 1}, "has no argument 'xyzzy'. Its arguments besides those of Keras: aliases,"),
    ],
)
@pytest.mark.parametrize("kind", ["ModelCheckpoint", "WandbModelCheckpoint"])
def test_an_argument_of_another_library_names_the_one_of_kept(kind, given, said):
    with pytest.raises(TypeError) as caught:
        getattr(kept, kind)("m.keras", **given)
    assert str(caught.value).startswith(f"{kind} has no argument {next(iter(given))!r}")
    assert said in str(caught.value)


def test_what_is_to_be_passed_instead_can_be_passed():
    callback = kept.ModelCheckpoint
    known = set(inspect.signature(callback).parameters)
    elsewhere = [name for others in signature._ELSEWHERE.values() for name in others.split()]
    assert {own.partition("=")[0] for own in signature._ELSEWHERE} <= known
    assert len(elsewhere) == len({*elsewhere, *signature._NOT_NEEDED}) - len(signature._NOT_NEEDED)
    assert not known & {*elsewhere, *signature._NOT_NEEDED}


@pytest.mark.parametrize("alias", ["epoch_1", "epoch_1_batch_20", "latest", "v3", "a b"])
def test_an_alias_that_only_kept_gives(alias):
    with pytest.raises(InvalidName, match=f"Received: '{alias}'"):
        kept.ModelCheckpoint("m.keras", aliases=["prod", alias])
