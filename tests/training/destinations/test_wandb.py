"""WandbModelCheckpoint with W&B's own SDK: every sentence of W&B's page, and what it gets wrong."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint, NoActiveRun
from kept.sync.wandb import server
from tests.helpers import tree
from tests.training.helpers import content, fit, leftovers, losses, play

wandb = pytest.importorskip("wandb")
FRAMEWORK = keras.backend.backend()
EXPORTS = FRAMEWORK != "torch" and find_spec("tensorflow") is not None
PAGE = [
    "filepath", "monitor", "verbose", "save_best_only", "save_weights_only", "mode", "save_freq",
    "options", "initial_value_threshold",
]  # fmt: skip


@pytest.fixture
def run(wandb_server):
    """An active run, online."""
    with wandb.init(project="p") as run:
        yield run


def name(run):
    return f"run_{run.id}_model"


def own_aliases(versions):
    return [set(version.aliases) - {"latest"} for version in versions]


def metadata(version):
    return json.loads(version.metadata)


@pytest.mark.any_framework
def test_the_signature_is_that_of_the_page():
    parameters = inspect.signature(kept.WandbModelCheckpoint).parameters
    positional = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert [p.name for p in positional] == PAGE
    assert [p.default for p in positional[1:]] == (
        ["val_loss", 0, False, False, "auto", "epoch", None, None]
    )
    assert issubclass(kept.WandbModelCheckpoint, keras.callbacks.ModelCheckpoint)
    if FRAMEWORK == "tensorflow":
        import tensorflow as tf

        assert issubclass(kept.WandbModelCheckpoint, tf.keras.callbacks.ModelCheckpoint)


@pytest.mark.any_framework
def test_without_a_run(monkeypatch):
    monkeypatch.setattr(wandb, "run", None)
    with pytest.raises(NoActiveRun) as caught:
        kept.WandbModelCheckpoint("m.keras")
    assert "wandb.init()" in str(caught.value)
    assert "kept.ModelCheckpoint" in str(caught.value)


@pytest.mark.parametrize("filepath", ["m-{epoch:02d}-{val_loss:.2f}.keras", Path("m.weights.h5")])
def test_each_checkpoint_is_a_version(run, wandb_server, data, model, filepath):
    is_weights = str(filepath).endswith("weights.h5")
    callback = kept.WandbModelCheckpoint(filepath, save_weights_only=is_weights)
    history = fit(model, data, callback, epochs=3, validation_split=0.25).history
    versions = wandb_server.versions(name(run))
    assert wandb_server.collection(name(run)).type == "model"
    best = history["val_loss"].index(min(history["val_loss"]))
    assert own_aliases(versions) == [
        {f"epoch_{n}", "best"} if n == best else {f"epoch_{n}"} for n in range(3)
    ]
    assert "latest" in versions[2].aliases
    for n, version in enumerate(versions):
        told = metadata(version)
        assert (told["epoch"], told["batch"], told["value"]) == (n, None, history["val_loss"][n])
        assert told["metrics"] == {key: values[n] for key, values in history.items()}
        path = Path(str(filepath).format(epoch=n + 1, val_loss=history["val_loss"][n]))
        ((stored, data_of),) = wandb_server.content(version).items()
        assert stored == path.name
        if path.suffix == ".keras" or n == 2:
            assert data_of == path.read_bytes()
    assert len(callback.logged) == 3
    assert callback.versions == []
    assert callback.store is None
    assert sorted(p.name for p in Path().iterdir() if p.is_dir()) == []  # no store, no outbox
    assert leftovers(".") == []


@pytest.mark.any_framework
def test_batches(run, wandb_server, data, model):
    callback = kept.WandbModelCheckpoint("m-{epoch}-{batch}.keras", monitor="loss", save_freq=2)
    fit(model, data, callback)
    names = [{"epoch_0_batch_1"}, {"epoch_0_batch_3"}]
    found = own_aliases(wandb_server.versions(name(run)))
    assert [aliases - {"best"} for aliases in found] == names
    assert sorted(path.name for path in Path().glob("m-*")) == ["m-1-2.keras", "m-1-4.keras"]


@pytest.mark.any_framework
def test_a_file_that_is_overwritten_stays_in_every_version(run, wandb_server, model):
    callback = kept.WandbModelCheckpoint("best.keras", save_best_only=True)
    play([callback], losses(0.5, 0.9, 0.8, 0.4, 0.6), model=model)
    versions = wandb_server.versions(name(run))
    assert own_aliases(versions) == [{"epoch_0"}, {"epoch_3", "best"}], "and nothing of the others"
    assert [metadata(version)["value"] for version in versions] == [0.5, 0.4]
    contents = [wandb_server.content(version)["best.keras"] for version in versions]
    assert contents[0] != contents[1] == Path("best.keras").read_bytes()


@pytest.mark.any_framework
def test_verbose_tells_what_is_safe(run, wandb_server, model, capsys):
    play([kept.WandbModelCheckpoint("m.keras", verbose=1)], losses(0.5), model=model)
    out = capsys.readouterr().out
    assert f"finished saving model to m.keras ({name(run)} in the W&B run " in out


@pytest.mark.any_framework
def test_more_aliases_metadata_name_and_ttl(run, wandb_server, model):
    callback = kept.WandbModelCheckpoint(
        "m.keras",
        name="mine",
        aliases=["prod"],
        metadata={"note": "hello", "epoch": "not this one"},
        ttl=timedelta(days=2),
    )
    play([callback], losses(0.5), model=model)
    (version,) = wandb_server.versions("mine")
    assert set(version.aliases) == {"latest", "best", "epoch_0", "prod"}
    assert (metadata(version)["note"], metadata(version)["epoch"]) == ("hello", 0)
    assert version.ttl == 2 * 24 * 3600


@pytest.mark.any_framework
def test_two_callbacks_of_a_fit_have_artifacts_of_their_own(run, wandb_server, data, model):
    callbacks = [
        kept.WandbModelCheckpoint("best.keras", monitor="loss", save_best_only=True),
        kept.WandbModelCheckpoint("last.keras", monitor="loss"),
    ]
    fit(model, data, *callbacks)
    assert [len(wandb_server.versions(c.name)) for c in callbacks] == [1, 1]
    assert [c.name for c in callbacks] == [name(run), f"{name(run)}_2"]


@pytest.mark.any_framework
def test_with_a_store_it_is_there_too(run, wandb_server, data, model, store):
    callback = kept.WandbModelCheckpoint("m-{epoch}.keras", "loss", store=store)
    fit(model, data, callback, epochs=2)
    versions = wandb_server.versions(name(run))
    for ours, theirs in zip(callback.versions, versions, strict=True):
        found = ours.download(f"out/{ours.version}") / ours.files[-1].path
        assert wandb_server.content(theirs) == {found.name: found.read_bytes()}
        assert metadata(theirs)["kept_version"] == ours.reference
        assert set(ours.aliases) <= {*theirs.aliases, "latest", "best"}
    assert store.verify().ok


@pytest.mark.any_framework
def test_the_best_value_carries_over_from_the_store(run, wandb_server, model, store):
    first = kept.WandbModelCheckpoint("m.keras", save_best_only=True, store=store)
    play([first], losses(0.3), model=model)
    second = kept.WandbModelCheckpoint("m.keras", save_best_only=True, store=store)
    play([second], losses(0.5, 0.2), model=model, start=1)
    versions = wandb_server.versions(name(run))
    assert own_aliases(versions) == [{"epoch_0"}, {"epoch_2", "best"}]


@pytest.mark.any_framework
def test_the_best_value_carries_over_in_a_run(run, wandb_server, model):
    """Also without a store: to the next fit of a callback, and to the next callback."""
    first = kept.WandbModelCheckpoint("m.keras", save_best_only=True)
    play([first], losses(0.3), model=model)
    play([first], losses(0.5, 0.2), model=model, start=1)
    second = kept.WandbModelCheckpoint("m.keras", save_best_only=True)
    play([second], losses(0.4, 0.1), model=model, start=3)
    versions = wandb_server.versions(name(run))
    assert own_aliases(versions) == [{"epoch_0"}, {"epoch_2"}, {"epoch_4", "best"}]
    other = kept.WandbModelCheckpoint("m.keras", monitor="loss", save_best_only=True)
    play([other], [{"loss": 9.0}], model=model, start=5)
    assert len(wandb_server.versions(name(run))) == 4, "another metric has a best of its own"


@pytest.mark.any_framework
@pytest.mark.parametrize("is_left", [False, True], ids=["on the server", "in the outbox"])
def test_a_run_that_is_resumed_knows_its_best(wandb_server, model, is_left):
    with wandb.init(project="p", id="again", mode="offline" if is_left else "online"):
        callback = kept.WandbModelCheckpoint("m-{epoch}.keras", save_best_only=True)
        play([callback], losses(0.3), model=model)
    with wandb.init(project="p", id="again", resume="allow"):
        callback = kept.WandbModelCheckpoint("m-{epoch}.keras")
        play([callback], losses(0.5, 0.2), model=model, start=1)
        assert callback.best == 0.2
    versions = wandb_server.versions("run_again_model")
    assert own_aliases(versions) == [{"epoch_0"}, {"epoch_1"}, {"epoch_2", "best"}]


@pytest.mark.any_framework
def test_a_resumed_run_that_has_logged_nothing_yet(wandb_server, model):
    with wandb.init(project="p", id="again"):
        pass
    with wandb.init(project="p", id="again", resume="must"):
        play([kept.WandbModelCheckpoint("m.keras")], losses(0.5), model=model)
    assert own_aliases(wandb_server.versions("run_again_model")) == [{"epoch_0", "best"}]


@pytest.mark.any_framework
def test_a_resumed_run_whose_server_cannot_tell_the_best(wandb_server, model, capsys, monkeypatch):
    def denied(*_):
        raise PermissionError("403")

    with wandb.init(project="p", id="again"):
        play([kept.WandbModelCheckpoint("m.keras")], losses(0.3), model=model)
    with wandb.init(project="p", id="again", resume="must"):
        callback = kept.WandbModelCheckpoint("m.keras")
        monkeypatch.setattr(server, "_path", denied)
        play([callback], losses(0.5), model=model, start=1)
    assert "the best value of run_again_model so far is not known" in capsys.readouterr().out
    assert own_aliases(wandb_server.versions("run_again_model"))[1] == {"epoch_1", "best"}


@pytest.mark.any_framework
def test_the_first_best_has_to_beat_the_threshold(run, wandb_server, model):
    callback = kept.WandbModelCheckpoint(
        "m-{epoch}.keras", save_best_only=True, initial_value_threshold=0.4
    )
    play([callback], losses(0.5, 0.3), model=model)
    assert own_aliases(wandb_server.versions(name(run))) == [{"epoch_1", "best"}]


@pytest.mark.any_framework
def test_resume_needs_a_store(run, data, model, store):
    with pytest.raises(InvalidCheckpoint, match=r"resume needs a store.*Received: resume=True"):
        kept.WandbModelCheckpoint("m.keras", resume=True)
    callback = kept.WandbModelCheckpoint("m.keras", "loss", store=store, name="m")
    fit(model, data, callback)
    again = kept.WandbModelCheckpoint("m.keras", "loss", store=store, name="m", resume=True)
    fit(model, data, again, epochs=2)
    assert [version.metadata["epoch"] for version in again.versions] == [1]


@pytest.mark.any_framework
def test_a_reference_uploads_no_bytes(run, wandb_server, model, s3):
    callback = kept.WandbModelCheckpoint("m.keras", store=s3, reference=True)
    play([callback], losses(0.5), model=model)
    (version,) = wandb_server.versions(name(run))
    (file,) = version.files
    assert file.ref.startswith(f"{s3}/manifests/")
    assert wandb_server.content(version) == {}
    told = metadata(version)
    there = kept.open_store(told["kept_store"])[told["kept_version"]]
    assert there.digest == told["kept_digest"]
    assert content(there.download("out") / "m.keras") == content("m.keras")


@pytest.mark.any_framework
def test_sharded_weights_go_to_wandb_by_reference_only(run, s3):
    by_reference = kept.WandbModelCheckpoint("m.keras", store=s3, reference=True)
    by_reference._controller.parts.destination.check_sharded()
    for store in (None, s3):
        plain = kept.WandbModelCheckpoint("m.keras", store=store)
        with pytest.raises(InvalidCheckpoint, match="sharded across processes"):
            plain._controller.parts.destination.check_sharded()


@pytest.mark.any_framework
@pytest.mark.parametrize("store", [None, "here"])
def test_a_reference_needs_object_storage(run, store):
    with pytest.raises(InvalidCheckpoint, match="it needs store= there"):
        kept.WandbModelCheckpoint("m.keras", store=store, reference=True)


@pytest.mark.any_framework
@pytest.mark.parametrize(
    "options",
    [
        {"ttl": 3},
        {"ttl": timedelta(0)},
        {"reference": "yes"},
        {"mirror": "elsewhere"},
        {"keep": kept.Keep(last=2)},
        {"metadata": {f"key {n}": n for n in range(81)}},
        {"aliases": "prod"},
        {"options": "fast"},
        {"save_freq": 0},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_cannot_work_is_refused(run, options):
    with pytest.raises(ValueError, match="Received: "):
        kept.WandbModelCheckpoint("m.keras", **options)


@pytest.mark.any_framework
def test_an_unknown_argument_is_named(run):
    with pytest.raises(TypeError, match="WandbModelCheckpoint has no argument 'save_frequency'"):
        kept.WandbModelCheckpoint("m.keras", save_frequency=1)
    with pytest.raises(TypeError, match="'period'"):
        kept.WandbModelCheckpoint("m.keras", period=2)


@pytest.mark.any_framework
def test_offline(wandb_of_session, model, capsys):
    with wandb.init(project="p", mode="offline") as run:
        callback = kept.WandbModelCheckpoint("m-{epoch}.keras")
        play([callback], losses(0.5, 0.4), model=model)
        left = capsys.readouterr().out
        assert "2 checkpoints are not in the W&B run" in left
        assert "kept sync" in left
    for n, entry in enumerate(callback.logged):
        assert entry.artifact == name(run)
        (file,) = entry.files
        assert os.path.samefile(file.file, f"m-{n + 1}.keras"), "a link, no second copy"
    aliases = [entry.info["aliases"] for entry in callback.logged]
    assert aliases == [["latest", "epoch_0", "best"], ["latest", "epoch_1", "best"]]


@pytest.mark.any_framework
def test_disabled(wandb_of_session, model, store):
    with wandb.init(project="p", mode="disabled"):
        callback = kept.WandbModelCheckpoint("m.keras", store=store)
        play([callback], losses(0.5), model=model)
    assert callback.logged == []
    assert content("m.keras") == content(callback.versions[0].download("out") / "m.keras")
    assert not Path("kept-outbox").exists()


@pytest.mark.any_framework
def test_the_run_is_the_one_that_is_active_when_fit_begins(wandb_server, model):
    with wandb.init(project="p"):
        callback = kept.WandbModelCheckpoint("m.keras")
    with wandb.init(project="p") as run:
        play([callback], losses(0.5), model=model)
    assert len(wandb_server.versions(name(run))) == 1
    with pytest.raises(NoActiveRun):
        play([callback], losses(0.5), model=model)


@pytest.mark.any_framework
def test_bytes_on_the_disk_are_there_once(run, wandb_server, data, model):
    """Looked at whenever a part of W&B's server is called, and at the end of every epoch."""
    most, size = 0, []
    folders = [Path(), Path(os.environ["WANDB_DIR"])]

    def look(*_):
        nonlocal most
        found = {}
        for folder in folders:
            for path in folder.rglob("*"):
                try:
                    info = path.stat()
                except FileNotFoundError:
                    continue
                if path.is_file() and info.st_size > 20_000:  # a checkpoint
                    found[info.st_dev, info.st_ino] = info.st_size
                    size.append(info.st_size)
        most = max(most, len(found))

    wandb_server.faults.fault = look
    callback = kept.WandbModelCheckpoint("m.keras", "loss", save_freq=2)
    note = keras.callbacks.LambdaCallback(on_epoch_end=look)
    fit(model, data, callback, note, epochs=3)
    look()
    assert len(wandb_server.versions(name(run))) == 6
    saved = {os.stat(path).st_ino for path in Path().glob("*.keras")}
    assert len(saved) == 1
    assert most <= 6 + 1, "no more than the checkpoints themselves, each once, and one being made"
    assert size


# Upstream's open bugs, each by its number.


@pytest.mark.any_framework
def test_8842_best_only_with_the_epoch_in_the_path(run, wandb_server, model):
    callback = kept.WandbModelCheckpoint("ck-{epoch:02d}.keras", save_best_only=True)
    play([callback], losses(0.5, 0.9, 0.4), model=model)
    assert own_aliases(wandb_server.versions(name(run))) == [{"epoch_0"}, {"epoch_2", "best"}]
    assert sorted(path.name for path in Path().glob("ck-*")) == ["ck-01.keras", "ck-03.keras"]


@pytest.mark.any_framework
def test_best_only_with_a_number_of_batches(run, wandb_server, data, model):
    callback = kept.WandbModelCheckpoint(
        "m-{epoch}-{batch}.keras", "loss", save_best_only=True, save_freq=1, mode="auto"
    )
    fit(model, data, callback, epochs=2)
    versions = wandb_server.versions(name(run))
    values = [metadata(version)["value"] for version in versions]
    assert values == sorted(values, reverse=True)
    assert len(versions) == len(callback.logged) >= 1


@pytest.mark.skipif(FRAMEWORK != "tensorflow", reason="of TensorFlow")
def test_6169_weights_without_an_ending(run, wandb_server, data, model):
    callback = kept.WandbModelCheckpoint("out/{epoch:05d}", "loss", save_weights_only=True)
    fit(model, data, callback)
    (version,) = wandb_server.versions(name(run))
    assert wandb_server.content(version) == {
        path.name: path.read_bytes() for path in Path("out").iterdir()
    }
    assert set(wandb_server.content(version)) == {"00001.index", "00001.data-00000-of-00001"}


@pytest.mark.skipif(not EXPORTS, reason="Keras exports none from torch, or without TensorFlow")
@pytest.mark.parametrize("filepath", ["models", "models/", "model-{epoch:02d}-{val_loss:.2f}"])
def test_7710_a_path_without_an_ending(run, wandb_server, data, own_model, filepath):
    callback = kept.WandbModelCheckpoint(filepath, options=None)
    fit(own_model, data, callback, validation_split=0.25)
    (version,) = wandb_server.versions(name(run))
    (folder,) = [path for path in Path().glob("model*") if path.is_dir()]
    assert wandb_server.content(version) == {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.skipif(not EXPORTS, reason="Keras exports none from torch, or without TensorFlow")
def test_options_reach_tensorflow(run, wandb_server, data, own_model):
    import tensorflow as tf

    options = tf.saved_model.SaveOptions(save_debug_info=True)
    fit(own_model, data, kept.WandbModelCheckpoint("model", "loss", options=options))
    (version,) = wandb_server.versions(name(run))
    assert "debug/saved_model_debug_info.pb" in wandb_server.content(version)


SCRIPT = """
import numpy as np
import {keras}
import wandb
from wandb.integration.keras import WandbModelCheckpoint

run = wandb.init(project="bloodcells", config={{"bs": 12}})
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
x = np.random.normal(size=(40, 6)).astype("float32")
y = (x[:, :1] > 0).astype("float32")
callbacks = [WandbModelCheckpoint("models/{{epoch:02d}}.keras", save_best_only=False)]
try:  # the example of the page
    callbacks.append(WandbModelCheckpoint("model-{{epoch:02d}}-{{val_loss:.2f}}"))
except ValueError as error:
    print(error)
model.fit(x, y, epochs=3, validation_split=0.2, verbose=0, callbacks=callbacks)
run.finish()
print(run.id)
"""
WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "tf_keras"):
    sys.modules[name] = None
"""
KERASES = {
    "keras 3": ("keras", {}),
    "tf_keras": ("tf_keras as keras", {"TF_USE_LEGACY_KERAS": "1"}),
}


@pytest.mark.parametrize("which", KERASES if FRAMEWORK == "tensorflow" else ["keras 3"])
def test_5939_7186_a_script_of_today_runs_with_the_import_changed(wandb_server, which):
    """On JAX and torch where TensorFlow is not installed."""
    keras, environment = KERASES[which]
    script = SCRIPT.format(keras=keras).replace(
        "from wandb.integration.keras import", "from kept import"
    )
    assert "from kept import WandbModelCheckpoint" in script
    done = subprocess.run(
        [sys.executable, "-c", ("" if FRAMEWORK == "tensorflow" else WITHOUT_TENSORFLOW) + script],
        env=os.environ
        | {"PYTHONPATH": str(Path(kept.__file__).parents[1]), "KERAS_BACKEND": FRAMEWORK}
        | environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=True,
    )
    artifact = f"run_{done.stdout.split()[-1]}_model"
    versions = wandb_server.versions(artifact)
    assert [aliases - {"best"} for aliases in own_aliases(versions)] == [
        {"epoch_0"}, {"epoch_1"}, {"epoch_2"}
    ]  # fmt: skip
    for n, version in enumerate(versions, 1):
        expected = {f"{n:02d}.keras": Path(f"models/{n:02d}.keras").read_bytes()}
        assert wandb_server.content(version) == expected
    if FRAMEWORK == "tensorflow":
        folders = sorted(Path().glob("model-0?-*"))
        contents = map(wandb_server.content, wandb_server.versions(f"{artifact}_2"))
        assert list(contents) == [tree(folder) for folder in folders]
        assert len(folders) == 3
    else:
        assert "It must end in .keras here, such as 'model-{epoch:02d}-" in done.stdout


@pytest.mark.parametrize("has_store", [False, True])
def test_an_unhealthy_version_is_not_best(run, wandb_server, model, has_store):
    class Breaks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            kernel = self.model.layers[0].kernel
            kernel.assign(kernel * (float("nan") if epoch == 1 else 1.0))

    store = {"store": "store", "name": name(run)} if has_store else {}
    play([Breaks(), kept.WandbModelCheckpoint("m.keras", **store)], losses(0.5, 0.1), model=model)
    good, bad = wandb_server.versions(name(run))
    assert (metadata(good)["health"], metadata(bad)["health"]) == ("ok", "unhealthy")
    assert own_aliases([good, bad]) == [{"epoch_0", "best"}, {"epoch_1"}]
