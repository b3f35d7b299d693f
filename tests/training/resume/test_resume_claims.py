"""Each claim of docs/resume.md is tied to tests, and those run on every framework."""

import importlib
import re
from pathlib import Path

import keras
import pytest

from tests.training.resume import resume_data
from tests.training.resume.test_resume_data import EVERYWHERE, START_AGAIN

pytestmark = pytest.mark.any_framework
PAGE = Path(__file__).parents[3].joinpath("docs/resume.md").read_text()
FROM_THE_START = "start of the epoch"

# A row of the table -> its promise, and the kinds of data in resume_data.py that have to hold it.
ROWS = {
    "`kept.Dataset` with `shuffle=False` in `fit`": (
        "exact; nothing is read again",
        {"dataset_of_kept", "dataset_of_kept_with_workers"},
    ),
    "arrays, shuffled by Keras": (
        "exact; on TensorFlow with `keras.utils.set_random_seed` before `fit` ¹",
        {"arrays", "arrays_with_all_steps"},
    ),
    "`keras.utils.PyDataset`": (
        (
            "exact, unless it changes itself between epochs and lacks `get_state()` and "
            "`set_state(state)` ²"
        ),
        {
            *("py_dataset", "py_dataset_in_order", "py_dataset_with_workers"),
            *("py_dataset_with_a_state", "py_dataset_that_reorders_itself"),
        },
    ),
    "torch `DataLoader`": (
        "exact, with torch's global generator or its own ³",
        {
            *("loader_in_order", "loader_shuffled", "loader_with_a_generator"),
            *("loader_with_all_steps", "loader_with_its_own_sampler"),
        },
    ),
    "`tf.data.Dataset`": (
        "exact, also if it reshuffles, if a new one gives the same batches, so with its seeds set",
        {
            *("tf_data_in_order", "tf_data_shuffled_once", "tf_data_reshuffled"),
            *("tf_data_by_the_global_seed", "tf_data_with_all_steps", "tf_data_of_unknown_length"),
        },
    ),
    "Grain: `MapDataset`, `IterDataset`, `DataLoader`": (
        "exact",
        {"grain_map", "grain_iter", "grain_loader"},
    ),
    "streams with `steps_per_epoch`: repeated `tf.data` or Grain, generators": (
        "exact if a new stream gives the same batches ⁴",
        {
            *("tf_data_repeated", "grain_repeated", "grain_iter_repeated"),
            *("grain_loader_repeated", "generator"),
        },
    ),
    "arrays, `PyDataset`, `DataLoader` if `steps_per_epoch` differs from their number of batches": (
        f"{FROM_THE_START} ⁵",
        {"arrays_with_steps", "py_dataset_with_steps", "loader_with_steps"},
    ),
}
DATA = "resume.test_resume_data:test_resumed_in_the_middle_of_an_epoch"
KILLED = "resume.test_resume_exact:test_killed_and_resumed_is_the_same_run"
# Another claim, by its first words -> the tests that hold it.
CLAIMS = {
    "The run ends with the weights": (
        KILLED,
        "resume.test_resume:test_a_resumed_run_ends_as_the_straight_one",
    ),
    "exact; nothing is read again": (
        "test_verify_resume:test_batches_passed_over_are_not_read",
    ),
    "If kept cannot check a condition of exactness": (
        DATA,
        "resume.test_resume_restored:test_batches_that_are_read_early_are_a_condition",
    ),
    "Which to choose": (
        DATA,
        "test_verify_resume:test_the_order_of_a_dataset_is_a_function_of_seed_and_epoch",
    ),
    "The numbers then differ in their last bits": (
        "resume.test_resume_across:test_after_an_epoch_of_another_framework",
    ),
    "## Does my script resume exactly": (
        "test_verify_resume:test_a_training_that_resumes_exactly",
    ),
    # What is restored
    "weights, optimizer and learning rate": (KILLED,),
    "the epoch, the batch, and the metrics": (KILLED, DATA),
    "the random states of": (KILLED, "resume.test_resume:test_randomness_is_put_back"),
    "the best value": ("resume.test_resume:test_the_best_value_is_restored",),
    "the callbacks History": (
        KILLED,
        "resume.test_resume:test_csv_goes_on_where_the_version_was_saved",
        "resume.test_resume_restored:test_keras_s_checkpoint_callback_continues",
        "resume.test_callbacks_of_keras:test_their_states_continue",
        "resume.test_callbacks_of_keras:test_every_callback_of_keras_is_known",
        "resume.test_resume_shapes:test_averages_of_the_optimizer_are_put_where_they_were",
    ),
    "each of several optimizers": (
        "resume.test_resume_restored:test_each_of_several_optimizers_has_its_slots",
        "resume.test_resume_shapes:test_an_optimizer_is_built_with_the_weights_that_it_trained",
    ),
    "the matrices of LoRA": (
        "shapes.test_shapes:test_versions_are_of_their_moment_and_resume_to_the_same_bits",
    ),
    "variables that no list of the model has": (
        "resume.test_resume_restored:test_variables_that_no_list_has_are_restored",
        "resume.test_resume_shapes:test_the_states_of_a_layer_are_found",
    ),
    "every callback with": (KILLED,),
    # What no version can hold
    "`tf.random.normal` and the like": (
        "resume.test_resume_shapes:test_noise_whose_state_is_hidden_is_found",
    ),
    "Generators of `random`": (
        "resume.test_unsaved:test_random_generators_of_layers_callbacks_and_data",
        "resume.test_unsaved:test_a_buffer_and_a_generator_of_torch",
        "resume.test_unsaved:test_a_variable_of_tensorflow",
    ),
    "Values in layers of your own": (
        "resume.test_unsaved:test_values_that_keras_does_not_track",
        "resume.test_unsaved:test_constants_and_what_is_saved_are_not_reported",
    ),
    "Numbers and arrays in callbacks": (
        "resume.test_unsaved:test_counters_of_callbacks",
    ),
    "The position in a Python generator": (
        "resume.test_unsaved:test_a_python_generator_has_no_position",
    ),
    "Another number of processes": (
        "resume.test_unsaved:test_other_devices_are_reported",
        "resume.test_unsaved:test_devices_are_described",
    ),
    "Sums are then added up": ("resume.test_unsaved:test_other_devices_are_reported",),
    # The footnotes
    "TensorFlow shuffles by its global seed": (
        "resume.test_resume:test_another_seed_of_tensorflow_is_reported",
        "resume.test_position:TestShuffledArrays.test_on_tensorflow_the_seed_has_to_be_the_same",
    ),
    "An example is a dataset that shuffles": (
        DATA,
        "resume.test_resume:test_keras_py_dataset_with_random_rows",
    ),
    "On JAX and TensorFlow": (
        "resume.test_resume_restored:test_keras_seeds_torch_only_if_it_uses_torch",
    ),
    "kept reads them again": (
        "resume.test_resume_data:test_reading_a_stream_again_is_reported",
    ),
    "The data starts again": (
        DATA,
        "resume.test_resume:test_another_batch_size_begins_the_epoch_again_and_says_so",
        "resume.test_resume:test_another_batch_size_after_an_epoch_is_reported",
    ),
}  # fmt: skip


def rows():
    """The rows of the table: what the data is -> what the page promises."""
    page = PAGE.partition("## Several processes")[0]  # which tests/distributed is about
    lines = re.findall(r"^\| (.*) \|$", page, re.MULTILINE)
    cells = dict(line.rsplit(" | ", 1) for line in lines)
    assert cells.pop("data") == "in the middle of an epoch"
    return cells


def claims():
    """The sentences that say exact, the list of what is restored, and the footnotes."""
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    parts = [text.partition(name)[2] for name in ("## What is restored", "## What no version")]
    lists = [part.partition("\n\n* ")[2].partition("\n\n")[0].split("\n* ") for part in parts]
    notes = re.findall(r"^\d\. (.*)$", text, re.MULTILINE)
    prose = re.sub(r"^\|.*\|$", "", text, flags=re.MULTILINE)
    paragraphs = [" ".join(part.split()) for part in prose.split("\n\n")]
    sentences = [one for part in paragraphs for one in re.split(r"(?<=[.?]) ", part)]
    exact = [one for one in sentences if re.search(r"exact|last bit", one)]
    return [*exact, *notes, *lists[0], *lists[1], rows()[next(iter(ROWS))]]


def test_each_row_of_the_table_has_data_that_holds_it():
    assert rows() == {data: promise for data, (promise, _) in ROWS.items()}


def test_each_kind_of_data_belongs_to_one_row():
    kinds = [kind for _, some in ROWS.values() for kind in some]
    assert len(set(kinds)) == len(kinds)
    assert set(resume_data.KINDS) <= set(kinds)
    lacking = set(kinds) - set(resume_data.KINDS)
    assert not lacking or keras.__version__.startswith("3.10.")  # its fit takes no Grain data
    of_the_start = [some for promise, some in ROWS.values() if FROM_THE_START in promise]
    assert of_the_start == [START_AGAIN]
    assert all(some & EVERYWHERE for _, some in ROWS.values())


def test_each_other_claim_has_tests():
    made = claims()
    assert not [one for one in made if not any(one.startswith(words) for words in CLAIMS)]
    assert not [words for words in CLAIMS if not any(one.startswith(words) for one in made)]


@pytest.mark.parametrize("test", sorted({DATA, *(one for some in CLAIMS.values() for one in some)}))
def test_a_test_of_a_claim_exists_and_runs_on_every_framework(test):
    module, _, path = test.partition(":")
    holder = importlib.import_module(f"tests.training.{module}")
    first, _, method = path.partition(".")
    found = getattr(holder, first)
    for one in (holder, found, getattr(found, method or "__class__")):
        marks = getattr(one, "pytestmark", [])
        marks = marks if isinstance(marks, list) else [marks]
        assert not {"any_framework", "integration"} & {mark.name for mark in marks}
