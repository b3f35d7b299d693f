"""Metrics that are logged after the save: what is valid, what counts, and what stays."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kept
from kept.errors import InvalidInput, InvalidMetadata, NewerFormat, VersionNotFound
from kept.store import format_marker
from kept.store.log.changes import UNCHANGED
from kept.store.store import Store


@pytest.fixture
def version(store):
    file = kept.MemoryFile("m.bin", [b"x"])
    return store.log_artifact("m", file, metadata={"metrics": {"loss": 0.5}})


def test_the_newest_value_counts_and_all_stay(store, version, monkeypatch):
    monkeypatch.setenv("KEPT_USER", "ada")
    version.log_metrics({"acc": 0.1, "n": 3}, dataset="d")
    found = version.log_metrics({"acc": 0.2}, evaluation="e")
    assert found.metrics == {"acc": 0.2, "acc@d": 0.1, "n": 3, "n@d": 3}
    assert store.version("m:v0").metrics == found.metrics
    assert found.metadata == {"metrics": {"loss": 0.5}}, "those of the save stay where they are"
    logged = found.record.changes.logged
    assert [(each.name, each.value, each.by) for each in logged] == [
        ("acc", 0.2, "ada"), ("acc", 0.1, "ada"), ("n", 3, "ada"),
    ]  # fmt: skip
    assert found.record.changes.evaluated("e") == {"acc": 0.2}
    assert isinstance(found.metrics["n"], int)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(0.5), 0.5), (np.int64(3), 3), (np.array(2.0), 2.0), (-(2**63), -(2**63)),
        (math.inf, math.inf), (np.float64("-inf"), -math.inf), (0, 0),
    ],
)  # fmt: skip
def test_values_that_are_numbers(store, version, value, stored):
    assert version.log_metrics({"a": value}).metrics == {"a": stored}
    assert store.version("m").metrics == {"a": stored}


def test_nan(store, version):
    assert math.isnan(version.log_metrics({"a": np.nan}).metrics["a"])
    assert store.version("m").record.changes.metrics == {"a": "nan"}


@pytest.mark.parametrize(
    "value",
    [
        "0.5",
        "nan",
        True,
        np.True_,
        None,
        [1],
        {"b": 1},
        np.zeros(1),
        2**63,
        object(),
        -(1 << 20000),
        np.clongdouble(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_no_numbers(store, version, value):
    with pytest.raises(InvalidMetadata, match="top_1"):
        version.log_metrics({"ok": 1, "top_1": value})
    assert store.log("m").view().head == 1, "nothing is logged"


@pytest.mark.parametrize(
    "arguments",
    [
        ({},), (None,), ([("a", 1)],), ({"": 1},), ({" a": 1},), ({3: 1},), ({"a" * 257: 1},),
        ({"a\n": 1},),
    ],
)  # fmt: skip
def test_other_input_that_is_refused(version, arguments):
    with pytest.raises(InvalidInput, match="Received"):
        version.log_metrics(*arguments)
    for label in ("", " x", 3):
        with pytest.raises(InvalidInput, match="data set of 1 to 256"):
            version.log_metrics({"a": 1}, dataset=label)


def test_a_deleted_version(store, version):
    store.delete("m:v0")
    with pytest.raises(VersionNotFound, match="kept undelete m:v0"):
        version.log_metrics({"a": 1})
    with pytest.raises(VersionNotFound):
        version.update(note="x")


@pytest.mark.parametrize("rule", [None, "acc"])
def test_many_calls_read_each_record_a_few_times(store, file, read_items, rule):
    versions = [store.log_artifact("m", file(b"%d" % n)) for n in range(100)]
    store.artifact("m").set_best(rule)
    read_items.clear()
    for version in versions:
        version.log_metrics({"acc": version.index})
        version.update(tags=["t"])
    assert len(read_items) < 20 * len(versions)
    found = store.versions("m")
    assert [v.metrics for v in found] == [{"acc": n} for n in range(100)]
    assert ("best" in found[-1].aliases) == bool(rule)


def test_many_events_of_one_version(store, version):
    for n in range(20):
        version.log_metrics({"a": n, "b": n}, dataset="ds"[n % 2])
        version.update(note=f"{n}", metadata={f"k{n}": n}, tags=[f"{n}"], remove_tags=[f"{n - 1}"])
    events = list(store.log("m").view().backwards())[-2::-1]
    one_by_one = UNCHANGED
    for event in events:
        one_by_one = one_by_one.after(event)
    found = store.version("m").record.changes
    assert found == one_by_one == UNCHANGED.after(*events)
    assert found.tags == ("19",)
    assert found.metrics == {"a": 19, "b": 19, "a@d": 18, "b@d": 18, "a@s": 19, "b@s": 19}


def test_an_older_kept_refuses_the_store_from_then_on(store, version, monkeypatch):
    assert Store(store.bucket).version("m").metrics == {}
    version.log_metrics({"a": 1})
    monkeypatch.setattr(format_marker, "EVENTS_FORMAT", 2)
    with pytest.raises(NewerFormat):
        Store(store.bucket)


def test_a_signature_stays_valid(store, version, tmp_path):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    plain = form.NoEncryption()
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain))
    public.write_bytes(
        key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    version.sign(private)
    changed = version.log_metrics({"a": 1}).update(metadata={"x": 1}, tags=["t"])
    assert changed.metadata["x"] == 1
    store.version("m:v0").check_signed(public)


def test_on_s3(s3):
    store = kept.open_store(s3)
    store.log_artifact("m", kept.MemoryFile("m.bin", [b"x"]))
    store.version("m").log_metrics({"a": 1}, dataset="d")
    kept.open_store(s3).version("m").update(tags=["t"], note="n")
    found = kept.open_store(s3).version("m")
    assert (found.metrics, found.tags, found.notes[0].text) == ({"a": 1, "a@d": 1}, ("t",), "n")
