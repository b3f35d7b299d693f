"""Loading a version with defaults runs nothing that is in it, and reads no other file.

The metadata and the bytes of a version are those of its writer. SECURITY.md lists the weaknesses of
Keras that these tests try again.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidInput
from tests.training import attacks
from tests.training.attacks import MARKER, SECRET, call, h5_file, keras_file, lambda_layer, model

pytestmark = pytest.mark.any_framework

KERAS_2 = {"keras_version": "2.15.0"}
KERAS_3 = {"keras_version": "3.15.1"}
# How a whole model may name code: which weakness, and the config.
CONFIGS = {
    "CVE-2024-3660 a lambda": lambda: model(lambda_layer(attacks.lambda_code())),
    "CVE-2025-1550 any function": lambda: call("os", "system"),
    "CVE-2025-1550 of builtins": lambda: call("builtins", "exec"),
    "CVE-2025-8747 get_file": lambda: call(
        "keras.utils", "get_file", origin=SECRET.resolve().as_uri(), cache_dir=str(Path.cwd())
    ),
    "CVE-2025-9906 no safe mode": lambda: model(
        lambda_layer(attacks.function("keras.config", "enable_unsafe_deserialization")),
        lambda_layer(attacks.lambda_code()),
    ),
    "CVE-2025-9906 load_model": lambda: call("keras.models", "load_model", safe_mode=False),
    "CVE-2025-12058 words": lambda: attacks.lookup(SECRET.resolve()),
    "CVE-2025-12060 and 12638 tar": lambda: call(
        "keras.utils", "get_file", origin=SECRET.resolve().as_uri(), extract=True
    ),
    "CVE-2025-49655 a pickle": attacks.pickled_module,
    "CVE-2026-1462 a SavedModel": lambda: model(
        attacks.layer("TFSMLayer", {"filepath": "saved", "call_endpoint": "serve"})
    ),
    "a SavedModel, as a function": lambda: call("keras.layers", "TFSMLayer"),
    "CVE-2026-12481 without module": lambda: model(
        {"class_name": "Lambda", "config": {"name": "l", "function": attacks.lambda_code()}}
    ),
    "a function in place of a class": lambda: model(
        attacks.layer("load_data", {}, "keras.datasets.mnist")
    ),
    "what makes any object": lambda: call("keras.losses", "deserialize"),
    "what makes any object, builtin": lambda: call("builtins", "deserialize"),
    "an old deserializer": lambda: call("keras.utils.legacy", "deserialize_keras_object"),
    "a class that opens a file": lambda: call("keras.saving", "KerasFileEditor"),
    "a class that reads words later": lambda: call(
        "keras.layers", "StringLookup", vocabulary=str(SECRET.resolve())
    ),
    "old code in a list": lambda: model(lambda_layer([attacks.code(), None, None])),
    "a name that is no text": lambda: model({"class_name": ["Lambda"], "config": {}}),
    "a path in a name": lambda: model(
        attacks.layer("Lambda", {}, "keras.src.layers.core.lambda_layer")
    ),
}
# These name nothing of Keras, or a file that a harmless layer reads; every supported Keras refuses.
BY_KERAS = {"CVE-2025-1550 any function", "CVE-2025-1550 of builtins", "CVE-2025-12058 words"}


@pytest.fixture(autouse=True)
def secret():
    SECRET.write_text("word\n" * 20)


@pytest.fixture
def logged(store):
    """Make a version of a file, with the metadata that the attacker wants."""
    return lambda file, metadata=KERAS_3: store.log_artifact("m", file, metadata=metadata)


def refused(version, match=None):
    """Load with defaults; nothing runs, and an error comes of kept or Keras."""
    before = {path.name for path in Path().iterdir()}
    with pytest.raises((kept.KeptError, ValueError, TypeError), match=match):
        version.load_model()
    assert not MARKER.exists()
    assert {path.name for path in Path().iterdir()} == before
    assert keras.src.saving.serialization_lib.in_safe_mode() is not False


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("write", [keras_file, h5_file])
@pytest.mark.parametrize("metadata", [KERAS_3, KERAS_2, {}], ids=["3", "2", "none"])
def test_configs_that_name_code(logged, name, write, metadata):
    version = metadata.get("keras_version", "3.15.1")
    refused(logged(write(CONFIGS[name](), version=version), metadata))


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - BY_KERAS))
@pytest.mark.parametrize("write", [keras_file, h5_file])
def test_kept_refuses_them_before_keras_does(logged, name, write):
    refused(logged(write(CONFIGS[name]())), r"m:v0 is not loaded, because its config .*safe_mode")


class TestTheAttacksAreReal:
    """What is refused above does harm where it is trusted."""

    def test_in_keras_3(self, logged):
        version = logged(keras_file(CONFIGS["CVE-2024-3660 a lambda"]()))
        assert len(version.load_model(safe_mode=False).layers) == 1
        assert MARKER.exists()

    @pytest.mark.skipif(
        keras.__version__.startswith("3.10."), reason="this Keras refuses the lambda by itself"
    )
    def test_in_an_h5_of_keras_3(self, logged):
        version = logged(h5_file(CONFIGS["CVE-2024-3660 a lambda"]()))
        version.load_model(safe_mode=False)
        assert MARKER.exists()

    def test_in_keras_2_even_in_safe_mode(self, logged):
        tf_keras = pytest.importorskip("tf_keras")
        file = h5_file(attacks.keras_2_model(), "2.15.0")
        tf_keras.saving.load_model(file, safe_mode=True)
        assert MARKER.exists()
        MARKER.unlink()
        logged(file, KERAS_2).load_model(safe_mode=False)
        assert MARKER.exists()

    def test_in_a_keras_file_of_keras_2_in_safe_mode(self):
        """Its safe mode imports any module, so kept does not rely on it."""
        tf_keras = pytest.importorskip("tf_keras")
        first = attacks.layer("Lambda", {"function": "system", "function_type": "function"})
        first["config"] |= {"module": "os", "function": attacks.function("os", "system")}
        first["config"] |= dict.fromkeys(("output_shape", "output_shape_module"))
        first["config"]["output_shape_type"] = "raw"
        config = {"name": "m", "layers": [first]}
        file = keras_file(
            {"module": "keras", "class_name": "Sequential", "config": config}, version="2.15.0"
        )
        import os

        loaded = tf_keras.saving.load_model(file, safe_mode=True)
        assert loaded.layers[0].function is os.system


class TestTheChoiceOfKeras:
    """CVE-2025-9905, and a version whose metadata name the Keras that ignores safe_mode."""

    @pytest.mark.parametrize("metadata", [KERAS_2, KERAS_3, {}])
    def test_a_lambda_in_an_h5_of_keras_2(self, logged, metadata):
        refused(logged(h5_file(attacks.keras_2_model(), "2.15.0"), metadata))

    @pytest.mark.parametrize("write", [keras_file, h5_file])
    def test_metadata_alone_choose_nothing(self, logged, write):
        version = logged(write(dense(), version="3.15.1"), KERAS_2)
        refused(version, "its metadata name Keras 2, and the file names Keras 3")
        with pytest.raises(InvalidInput, match="its metadata name Keras 2"):
            version.load_model(safe_mode=False)

    @pytest.mark.parametrize("write", [keras_file, h5_file])
    def test_a_file_that_names_no_keras(self, logged, write):
        refused(logged(write(dense(), version="x"), KERAS_2), "the file names no Keras")

    def test_h5_files_of_keras_2_need_the_user_s_trust(self, logged):
        version = logged(h5_file(dense(), version="2.15.0"), KERAS_2)
        refused(version, r"Keras 2 can run code.*use load_model\(safe_mode=False\)")

    def test_saved_models_need_it_too(self, store):
        files = [Path("saved_model.pb"), Path("keras_metadata.pb")]
        for file in files:
            file.write_bytes(b"")
        version = store.log_artifact("m", files, metadata=KERAS_2)
        refused(version, r"a SavedModel is a program.*safe_mode=False")
        refused(store.log_artifact("n", files, metadata=KERAS_3), r"tf\.saved_model\.load")
        refused(store.log_artifact("o", files[:1], metadata=KERAS_2), r"tf\.saved_model\.load")

    @pytest.mark.parametrize("safe_mode", [None, 0, ""])
    def test_only_false_is_trust(self, logged, safe_mode):
        version = logged(keras_file(CONFIGS["CVE-2024-3660 a lambda"]()))
        with pytest.raises(InvalidInput, match="Python code"):
            version.load_model(safe_mode=safe_mode)
        assert not MARKER.exists()


def dense():
    """A harmless model."""
    return keras.saving.serialize_keras_object(
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")], name="m")
    )


def of_keras_2(**first):
    """A model of Keras 2 with one layer after its input."""
    config = {"batch_input_shape": [None, 2], "dtype": "float32", "name": "in"}
    layers = [attacks.layer("InputLayer", {}) | {"config": config}, first]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "m", "layers": layers},
    }


# What tf_keras's safe mode would import, call or read.
OF_KERAS_2 = {
    "any class": {
        "module": "subprocess",
        "class_name": "Popen",
        "config": {"args": "touch marker"},
    },
    "a class that is no layer": attacks.layer("SidecarEvaluator", {}, "keras.utils"),
    "a private module": attacks.layer("Dense", {"units": 1}, "tf_keras.src.layers.core.dense"),
    "any function of TensorFlow": attacks.layer("TFOpLambda", {"function": "io.write_file"}),
    "code in the form of old versions": {
        "class_name": "Lambda",
        "registered_name": "test>Doubled",
        "config": {"name": "l", "function": [attacks.code(), None, None]},
    },
    "a type from any module": {
        "module": "os",
        "class_name": "__typespec__",
        "spec_name": "system",
        "registered_name": None,
        "config": ["touch marker"],
    },
    "a function that makes any object": attacks.layer(
        "Dense", {"units": 1, "activation": attacks.function("builtins", "deserialize")}
    ),
    "a file of words": attacks.layer("StringLookup", {"vocabulary": "secret"}),
    "no name": {"module": "keras.layers", "class_name": 1, "config": {}},
}


class TestModelsOfKeras2:
    """tf_keras loads a .keras file in which all objects are on kept's list, or are the user's."""

    @pytest.mark.parametrize("name", OF_KERAS_2)
    def test_what_is_not_on_the_list_is_refused(self, logged, name):
        tf_keras = pytest.importorskip("tf_keras")
        doubled = type("Doubled", (tf_keras.layers.Layer,), {})
        tf_keras.saving.register_keras_serializable("test")(doubled)
        version = logged(keras_file(of_keras_2(**OF_KERAS_2[name]), version="2.15.0"), KERAS_2)
        refused(version, r"m:v0 is not loaded, because its config .*safe_mode=False")

    def test_what_is_on_the_list_is_loaded(self, store):
        tf_keras = pytest.importorskip("tf_keras")
        layers = tf_keras.layers
        inputs = tf_keras.Input((6, 2))
        x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(inputs)
        x = layers.Add()([x, layers.Dense(6, kernel_regularizer="l2")(x)])
        x = layers.Dense(1, activation=tf_keras.activations.swish)(layers.Flatten()(x))
        model = tf_keras.Model(inputs, x)
        schedule = tf_keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
        model.compile(tf_keras.optimizers.legacy.Adam(schedule), tf_keras.losses.Huber(), ["mae"])
        model.save("m.keras")
        loaded = store.log_artifact("m", "m.keras", metadata=KERAS_2).load_model()
        assert loaded.get_config() == model.get_config()
        assert type(loaded.optimizer) is type(model.optimizer)

    def test_classes_of_the_user(self, store):
        tf_keras = pytest.importorskip("tf_keras")

        class Mine(tf_keras.layers.Layer):
            pass

        tf_keras.Sequential([tf_keras.Input((2,)), Mine(name="mine")]).save("m.keras")
        version = store.log_artifact("m", "m.keras", metadata=KERAS_2)
        refused(version, "names 'Mine'.*register it")
        loaded = version.load_model(custom_objects={"Mine": Mine})
        assert isinstance(loaded.get_layer("mine"), Mine)


class TestWeights:
    """CVE-2026-0897 and CVE-2026-1669: HDF5 that links elsewhere, or that asks for too much."""

    @pytest.mark.parametrize("attack", attacks.HDF5, ids=lambda attack: attack.__name__)
    @pytest.mark.parametrize("compressed", [False, True])
    def test_of_a_keras_file(self, logged, attack, compressed):
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        version = logged(keras_file(dense(), attacks.weights(attack), compression=method))
        with pytest.raises(InvalidInput, match=r"m:v0 is not loaded, because "):
            version.load_model()
        with pytest.raises(InvalidInput, match=r"m:v0 is not loaded, because "):
            version.load_weights(keras.saving.deserialize_keras_object(dense()))

    @pytest.mark.parametrize("attack", attacks.HDF5, ids=lambda attack: attack.__name__)
    def test_of_a_file_of_weights(self, logged, attack):
        Path("m.weights.h5").write_bytes(attacks.weights(attack))
        version = logged(Path("m.weights.h5"))
        with pytest.raises(InvalidInput, match=r"m:v0 is not loaded, because "):
            version.load_weights(keras.saving.deserialize_keras_object(dense()))

    @pytest.mark.parametrize("attack", attacks.HDF5, ids=lambda attack: attack.__name__)
    def test_of_an_old_h5_file(self, logged, attack):
        version = logged(h5_file(dense(), change=attack))
        with pytest.raises(InvalidInput, match=r"m:v0 is not loaded, because "):
            version.load_model()
        with pytest.raises(InvalidInput, match=r"m:v0 is not loaded, because "):
            version.load_weights(keras.saving.deserialize_keras_object(dense()))

    def test_one_text_in_a_long_list(self, logged):
        """All names of a list can be one text that the file stores once."""

        def change(file):
            file.attrs["note"] = "x" * 20_000_000
            file["model_weights"].attrs["layer_names0"] = ["name"] * 200

        version = logged(h5_file(dense(), change=change))
        refused(version, "its arrays need")

    def test_one_array_in_a_long_list(self, logged):
        def change(file):
            group = file.create_group("model_weights/dense")
            group["a"] = [1.0]
            group.attrs["weight_names"] = ["a"] * 100

        refused(logged(h5_file(dense(), change=change)), "names an array twice")

    def test_bytes_that_are_no_hdf5(self, logged):
        refused(logged(keras_file(dense(), b"x" * 5000)), "it is no HDF5 file")
        Path("m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 5000)
        refused(logged(Path("m.h5")), "it is no HDF5 file")


class TestArchives:
    def test_a_config_of_a_gigabyte(self, logged):
        config = b" " * 300_000_000 + b"{}"
        version = logged(keras_file(config, compression=zipfile.ZIP_DEFLATED))
        refused(version, "it unpacks to 300,")

    def test_a_large_config_of_a_large_file(self, logged):
        config = b" " * 70_000_000 + b"{}"
        more = [("assets/a", b"x" * 10_000_000)]
        version = logged(keras_file(config, compression=zipfile.ZIP_DEFLATED, more=more))
        refused(version, r"its config\.json has 70,000,002 bytes")

    def test_a_bomb_in_the_weights(self, logged):
        h5 = attacks.weights() + b"\0" * 300_000_000
        version = logged(keras_file(dense(), h5, compression=zipfile.ZIP_DEFLATED))
        refused(version, "it unpacks to 300,")

    @pytest.mark.parametrize("name", ["../up", "/absolute", "assets/../../up", "assets\\..\\up"])
    def test_paths_that_lead_out(self, logged, name):
        version = logged(keras_file(dense(), more=[(name, b"x")]))
        refused(version, "it is a zip file with the path")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_two_configs(self, logged):
        version = logged(keras_file(dense(), more=[("config.json", b"{}")]))
        refused(version, "two members of one name")

    def test_weights_in_numpy_s_format(self, logged):
        refused(logged(keras_file(dense(), False, more=[("model.weights.npz", b"")])), "weights.h5")

    @pytest.mark.parametrize("config", [b"", b"[", b"[" * 100_000, b"\xff"])
    def test_configs_that_are_no_json(self, logged, config):
        refused(logged(keras_file(config)), "its config is not JSON")

    @pytest.mark.parametrize("content", [b"", b"PK\3\4", b"x" * 1000])
    def test_bytes_that_are_no_zip(self, logged, content):
        Path("m.keras").write_bytes(content)
        refused(logged(Path("m.keras")), r"it is no \.keras file")
        with pytest.raises(InvalidInput, match="is not loaded"):
            logged(Path("m.keras")).load_weights(keras.saving.deserialize_keras_object(dense()))


CHILD = """
import resource, sys, keras, kept
version = kept.open_store("store").version("m")
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")], name="m")
model.count_params()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (size, size))
for load in (version.load_model, lambda: version.load_weights(model)):
    try:
        load()
    except kept.KeptError as error:
        print("refused", error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("write", [keras_file, h5_file])
def test_memory_stays_bounded(logged, write):
    """512 MiB suffice to refuse an array of 3 GiB."""
    if write is keras_file:
        logged(write(dense(), attacks.weights(attacks.huge_array)))
    else:
        logged(write(dense(), change=attacks.huge_array))
    run = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    *refusals, kilobytes = run.stdout.splitlines()
    assert [line.partition(" ")[0] for line in refusals] == ["refused"] * 2, run
    assert int(kilobytes) < 2**19


class TestHarmlessModels:
    def test_functions_that_compute_are_loaded(self, store):
        relu = keras.layers.Lambda(keras.activations.relu)
        layers = [keras.layers.Dense(2, activation="relu", kernel_regularizer="l2"), relu]
        saved = keras.Sequential([keras.Input((2,)), *layers])
        saved.compile(
            "adam", keras.losses.mean_squared_error, metrics=[keras.metrics.mean_squared_error]
        )
        saved.save("m.keras")
        assert len(store.log_artifact("m", "m.keras").load_model().layers) == 2

    def test_classes_that_the_user_registered_are_loaded(self, store):
        @keras.saving.register_keras_serializable("mine")
        class small_layer(keras.layers.Layer):  # noqa: N801 - the name of a user
            pass

        keras.Sequential([keras.Input((2,)), small_layer()]).save("m.keras")
        assert len(store.log_artifact("m", "m.keras").load_model().layers) == 1

    def test_words_come_from_the_file(self, store):
        words = keras.layers.StringLookup(vocabulary=["a", "b"]) if has_strings() else None
        if words is None:
            pytest.skip("StringLookup needs TensorFlow")
        keras.Sequential([keras.Input((1,), dtype="string"), words]).save("m.keras")
        found = store.log_artifact("m", "m.keras").load_model()
        assert found.layers[0].get_vocabulary() == ["[UNK]", "a", "b"]

    def test_a_whole_model_with_a_lambda_is_refused_unless_it_is_trusted(self, store):
        twice = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
        twice.save("twice.keras")
        version = store.log_artifact("twice", "twice.keras")
        refused(version, r"Python code.*safe_mode=False")
        assert len(version.load_model(safe_mode=False).layers) == 1


def has_strings():
    return keras.backend.backend() == "tensorflow"
