"""Loading a whole model with a Keras that has published weaknesses names them, once."""

from __future__ import annotations

import warnings

import keras
import pytest

import kept
from kept.store.loading import known_holes as module
from kept.store.loading.known_holes import known_holes

pytestmark = pytest.mark.any_framework

_CLOSED = {  # version: a weakness that it closes
    "3.11.0": "CVE-2025-9906",
    "3.11.3": "CVE-2025-9905",
    "3.12.1": "CVE-2026-1462",
    "3.12.2": "CVE-2026-12480",
    "3.13.2": "CVE-2026-1669",
    "3.14.1": "CVE-2026-12480",
}


@pytest.mark.parametrize("version", _CLOSED)
def test_a_weakness_is_named_up_to_the_version_that_closes_it(version):
    major, minor, patch = map(int, version.split("."))
    before = f"3.{minor}.{patch - 1}" if patch else f"3.{minor - 1}.9"
    cve = _CLOSED[version]
    assert any(text.startswith(f"{cve} (fixed in {major}.") for text in known_holes(before))
    assert not any(text.startswith(f"{cve} ") for text in known_holes(version))


def test_a_backport_closes_only_its_own_minor_version():
    assert any("CVE-2026-1462" in text for text in known_holes("3.13.1"))


@pytest.mark.parametrize("version", ["3.12.2", "3.14.1", "3.15.1", "2.21.0", "4.0.0", "nightly"])
def test_other_versions_have_no_known_weakness(version):
    assert known_holes(version) == []


def test_loading_a_whole_model_warns_once(tmp_path, monkeypatch):
    store = kept.open_store(tmp_path / "store")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    version = store.log_artifact("m", tmp_path / "m.keras")
    monkeypatch.setattr(module, "_warned", set())
    monkeypatch.setattr(keras, "__version__", "3.10.0")
    with pytest.warns(UserWarning, match=r"Keras 3\.10\.0 .*CVE-2025-9906 \(fixed in 3\.11\.0\)"):
        version.load_model()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        version.load_model()
        version.load_weights(model)
    assert not [one for one in caught if "CVE" in str(one.message)]
