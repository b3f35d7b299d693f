"""What users hold: an artifact by its name, and a version by its reference."""

import copy
import pickle

import pytest

import kept
from kept import errors


@pytest.fixture
def store(tmp_path):
    made = kept.open_store(tmp_path / "store")
    for n in range(4):
        (tmp_path / "f").write_text(str(n))
        made.log_artifact("m", tmp_path / "f", aliases=["best"] if n == 1 else [])
    return made


def test_a_name_is_an_artifact_and_a_reference_is_a_version(store):
    assert store["m"] == store.artifact("m")
    assert isinstance(store["m"], kept.Artifact)
    digest = store.version("m:v2").digest
    for text in ("m:v2", f"m@{digest}"):
        assert store[text] == store.version("m:v2")
    assert store["m:latest"] == store.version("m")
    with pytest.raises(errors.ArtifactNotFound):
        store["other"]
    with pytest.raises(errors.InvalidReference):
        store["m:"]


def test_an_artifact_is_a_series_of_versions(store):
    artifact = store["m"]
    assert [version.index for version in artifact] == [0, 1, 2, 3]
    assert len(artifact) == len(artifact.versions()) == 4
    assert artifact["v2"] == artifact[2] == artifact[-2] == store["m:v2"]
    assert artifact["best"] == artifact[1] == artifact.aliases["best"]
    assert {artifact, kept.open_store(store.location)["m"]} == {artifact}
    assert artifact.latest == artifact["latest"] == artifact[-1] == store["m:v3"]
    assert artifact[f"@{artifact[2].digest}"] == artifact[2]
    assert repr(artifact) == "<kept.Artifact m>"


def test_numbers_are_those_of_the_versions_also_after_a_deletion(store):
    store.delete("m:v2")
    artifact = store["m"]
    assert len(artifact) == 3
    assert [artifact[-n].index for n in (1, 2, 3)] == [3, 1, 0]
    assert artifact[3].index == 3
    for gone in (2, 4, -4, "v2", "prod"):
        with pytest.raises(errors.VersionNotFound):
            artifact[gone]
        assert gone not in artifact


@pytest.mark.parametrize("wrong", ["", "a:b", "v1/f", 1.0, True, None, slice(0, 2)])
def test_what_is_no_selector_is_refused(store, wrong):
    with pytest.raises(errors.InvalidReference):
        store["m"][wrong]


def test_in_asks_for_artifacts_and_versions(store):
    assert "m" in store
    assert "m:best" in store
    assert "other" not in store
    assert "m:v9" not in store
    assert "best" in store["m"]
    assert store["m:v1"] in store["m"]
    assert list(store) == store.artifacts() == [store["m"]]


def test_in_is_false_for_an_artifact_whose_versions_are_all_deleted(store):
    store.remove_artifact("m", force=True)
    assert "m" not in store
    assert "m:v0" not in store
    assert list(store) == []
    store.restore_artifact("m")
    assert "m" in store


def test_an_artifact_without_versions_is_one(store):
    for version in store["m"]:
        store.delete(version.reference, force=True)
    assert store["m"]
    assert len(store["m"]) == 0
    assert list(store["m"]) == []


def test_what_only_a_version_has_is_explained(store):
    for name in ("load_model", "download", "metadata", "record"):
        with pytest.raises(AttributeError, match=r"its versions do.*store\['m:latest'\]"):
            getattr(store["m"], name)
    with pytest.raises(AttributeError, match=r"has no 'colour'$"):
        _ = store["m"].colour


def test_an_artifact_is_copied_and_pickled(store):
    artifact = store["m"]
    assert copy.deepcopy(artifact).latest == artifact.latest
    assert pickle.loads(pickle.dumps(artifact)).latest == artifact.latest


def test_a_version_that_is_written_in_another_way(store):
    for wrong in ("m:2", "m:V2"):
        with pytest.raises(errors.VersionNotFound, match=r"Did you mean 'v2'\?"):
            store[wrong]
    with pytest.raises(errors.VersionNotFound) as caught:
        store["m:9"]
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(errors.InvalidName, match="names a version; the artifact is 'm'"):
        store.versions("m:v2")


def test_the_tab_key_in_a_notebook(store):
    assert store._ipython_key_completions_() == ["m"]
    assert store["m"]._ipython_key_completions_() == ["best", "latest", "v0", "v1", "v2", "v3"]


def test_a_store_is_opened_by_its_function(tmp_path):
    with pytest.raises(TypeError, match=r"kept\.open_store\('here'\)"):
        kept.Store("here")


@pytest.mark.parametrize("location", ["s3:/bucket/x", "S3:bucket", "gs:/b", "file:x", "https:/h"])
def test_a_location_with_too_few_slashes(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.InvalidInput, match=f"Received: '{location}'"):
        kept.open_store(location)
    (tmp_path / location).mkdir(parents=True)
    assert kept.open_store(location).location == str(tmp_path / location)


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "model.keras").write_text("x")
    with pytest.raises(errors.NotAStore, match="is a file"):
        kept.open_store(tmp_path / "model.keras")


def test_a_removed_artifact_is_not_suggested(store, tmp_path):
    store.log_artifact("mnist", tmp_path / "f")
    with pytest.raises(
        errors.ArtifactNotFound, match=r"Did you mean 'mnist'\? Existing.*: m, mnist"
    ):
        store["mnits"]
    store.delete("mnist:v0")
    with pytest.raises(errors.ArtifactNotFound) as caught:
        store["mnits"]
    assert str(caught.value).endswith("Existing artifacts: m.")


@pytest.mark.parametrize("location", [3, b"store", ["store"]])
def test_what_is_no_location(location):
    with pytest.raises(errors.InvalidInput, match="opened by its folder or URL"):
        kept.open_store(location)
