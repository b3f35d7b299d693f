"""Random and mutated input for every parser: each ends with a value or with an error of kept.

The seeds are real values: what the store writes, and what the documentation shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings

import kept
from kept.bucket.location import clean_location, is_remote
from kept.bucket.memory import MemoryBucket
from kept.cli.main import cli
from kept.digest import digest
from kept.errors import KeptError
from kept.names import check_alias, check_name, check_path, check_paths, parse_reference
from kept.store.blobs.blob import blob_key, read_blob, read_head
from kept.store.content.read_manifest import decode_manifest
from kept.store.encoding import seal, unseal
from kept.store.log.events import check_event
from kept.store.log.pages import Pages
from kept.store.log.records import Records
from kept.store.receipts import receipts
from kept.store.signing.statement import read_signature
from kept.units import parse_bytes, parse_span
from tests.reliability.table import Tally

DATA = Path(__file__).parent.parent / "data"
CODED = [p.read_bytes() for p in sorted((DATA / "stores/coded/blobs").rglob("*")) if p.is_file()]
MANIFESTS = [p.read_bytes() for p in sorted((DATA / "stores").rglob("manifests/*/*"))]
RECORDS = [p.read_bytes() for p in sorted((DATA / "stores").rglob("log/*.json"))]
STATES = sorted((DATA / "states").iterdir())
LOCATIONS = [
    "s3://bucket/prefix", "gs://bucket", "az://container/prefix", "s3a://b", "./here", "memory:",
    "abfss://container@account.dfs.core.windows.net/prefix", "s3://key:secret@bucket/x", "~/store",
    "file:///tmp/x", "s3://bucket/../x", "s3://[::1]/x", "http://127.0.0.1:9/x", "",
]  # fmt: skip
REFERENCES = [
    "mnist",
    "mnist:v3",
    "mnist:best",
    "mnist@0123456789abcdef",
    "a:latest",
    "a:",
    ":",
    "@",
]
SPANS = ["7d", "12h", "30min", "50GB", "1.5h", "0s", "-1d", "1e99d", "9" * 400 + "d", "5%"]
TALLY = Tally("fuzz")
# $FUZZ is the number of inputs for each test; without it they are always the same.
EXAMPLES = int(os.environ.get("FUZZ", "60"))
FORM = "short" if "FUZZ" not in os.environ else "long" if EXAMPLES >= 20_000 else "some"


def fuzzed(**given_by_name):
    """Run a test with many inputs; it counts each, and every error that is not one of kept."""

    def decorate(test):
        def counted(**values):
            TALLY.tried += 1
            with contextlib.suppress(KeptError):
                test(**values)
                TALLY.survived += 1
                return
            TALLY.refused += 1

        counted.__name__ = test.__name__
        options = settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=FORM == "short",
            suppress_health_check=list(HealthCheck),
        )
        return options(given(**given_by_name)(counted))

    return decorate


@st.composite
def mutated(draw, seeds):
    """Return a real value with some bytes changed, removed, repeated or inserted."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        stop = min(start + draw(st.sampled_from([1, 1, 1, 2, 4, 8, 16, 64, 4096])), len(data))
        new = draw(
            st.one_of(
                st.binary(max_size=16),
                st.just(bytes(data[start:stop]) * 2),
                st.sampled_from([b"", b"\0" * 8, b"\xff" * 8, b"-1", b"null", b"[]", b"{}", b'"']),
            )
        )
        data[start:stop] = new
    return bytes(data)


def mutated_text(seeds):
    return st.one_of(st.text(max_size=40), mutated([s.encode() for s in seeds]).map(_as_text))


def _as_text(data):
    return data.decode(errors="replace").replace("\0", "")


anything = st.binary(max_size=400)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["0" * 64, "version", "2026-01-01T00:00:00Z", "v3", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@fuzzed(data=anything | mutated(RECORDS))
def test_sealed_values(data):
    unseal(data, "key")


@fuzzed(value=json_values)
def test_a_sealed_value_is_itself(value):
    assert unseal(seal(value), "key") == value


@st.composite
def near_events(draw):
    """Return a real event with some fields replaced."""
    event = json.loads(draw(st.sampled_from(RECORDS)))["value"]
    keys = st.sampled_from([*event, "previous", "artifact", "gc", "deleted", "expires", "reason"])
    for key, value in draw(st.dictionaries(keys, json_values, max_size=3)).items():
        event[key] = value
    return event


@fuzzed(event=near_events())
def test_events(event):
    bucket = MemoryBucket()
    with contextlib.suppress(ValueError):
        check_event(event, "digits", event["number"])
    bucket.put("artifacts/digits/log/00000000000000000001.json", [seal(event)])
    Records(bucket, "digits").read_or_fault(1)
    bucket.put("artifacts/digits/state/00000000000000000064.json", [seal({"events": [event] * 64})])
    Pages(bucket, "digits").cached(64)
    store = _store(bucket)
    store.problems()
    store.verify()


@fuzzed(data=anything | mutated(MANIFESTS))
def test_manifests(data):
    decode_manifest(data, "key", MemoryBucket())


@fuzzed(data=anything | mutated(CODED), name=st.sampled_from(["0" * 64, "e" * 64]))
def test_blobs(data, name):
    bucket = MemoryBucket()
    bucket.put(blob_key(name), [data])
    for other in CODED:
        bucket.put(blob_key(other[32:64].hex()), [other])
    with contextlib.suppress(KeptError):
        read_head(bucket, name)
    read_blob(bucket, name)


@fuzzed(value=json_values, name=st.sampled_from(["x", "digits"]))
def test_receipts_and_lists(value, name):
    bucket = MemoryBucket()
    bucket.put(f"outbox/{'0' * 16}/{name}.json", [json.dumps(value).encode()])
    list(receipts(bucket))
    bucket.put("gc/1.json", [json.dumps(value).encode()])
    store = _store(bucket)
    store.verify()
    store.gc(grace=0, dry_run=True)


@fuzzed(data=anything | json_values.map(lambda v: json.dumps(v).encode()))
def test_the_marker(data):
    bucket = MemoryBucket()
    bucket.put("kept.json", [data])
    kept.Store(bucket)


@fuzzed(data=anything | json_values.map(lambda v: json.dumps(v).encode()))
def test_signatures(data):
    read_signature(data, f"signatures/a/v0/{digest(data)}.json")


@fuzzed(location=mutated_text(LOCATIONS))
def test_locations(location):
    if is_remote(location):
        found = clean_location(location)
        assert clean_location(found) == found
        assert "secret" not in found


@fuzzed(text=mutated_text(REFERENCES))
def test_references(text):
    found = parse_reference(text)
    assert parse_reference(text) == found
    check_name(found.name)


@fuzzed(text=st.text(max_size=300))
def test_names_and_paths(text):
    for check in (check_name, check_alias, check_path):
        with contextlib.suppress(KeptError):
            check(text)
    check_paths([text, text.upper(), f"{text}/x"], stored=True)


@fuzzed(text=mutated_text(SPANS))
def test_spans_and_sizes(text):
    with contextlib.suppress(KeptError):
        parse_bytes(text, "size")
    parse_span(text, "grace")


_ENVIRONMENT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=30
) | st.sampled_from([*LOCATIONS, "/dev/null", "/proc/self/mem", "/", ".", "x" * 5000, "a:b", "-"])


@fuzzed(
    name=st.sampled_from(
        [
            "KEPT_STORE",
            "KEPT_OUTBOX",
            "KEPT_REQUIRE_SIGNED",
            "KEPT_KEY_PASSWORD",
            "KEPT_SINGLE_WRITER",
        ]
    ),
    value=_ENVIRONMENT,
)
def test_environment_variables(name, value):
    if re.match(r"(s3a?|gs|azu?r?e?|adl|abfss?)://", value, re.IGNORECASE):
        return  # nothing answers there, and the client retries
    for args in (["ls"], ["sync", "--status"], ["get", "x", "/nowhere-at-all/x"]):
        result = CliRunner().invoke(cli, args, env={"KEPT_STORE": "/nowhere-at-all", name: value})
        assert isinstance(result.exception, (SystemExit, type(None))), result.exception


@fuzzed(data=mutated([(s / "kept-state.json").read_bytes() for s in STATES]))
def test_states(data):
    check_state(data, (STATES[-1] / "kept-state.npz").read_bytes())


@fuzzed(data=mutated([(s / "kept-state.npz").read_bytes() for s in STATES]))
def test_arrays_of_states(data):
    check_state((STATES[-1] / "kept-state.json").read_bytes(), data)


def check_state(text, arrays):
    from kept.training.resume.read_state import read_state

    folder = Path("state-to-read")
    folder.mkdir(exist_ok=True)
    (folder / "kept-state.json").write_bytes(text)
    (folder / "kept-state.npz").write_bytes(arrays)
    found = read_state(folder)
    assert found is None or 0 <= found.epoch < 2**63


def _store(bucket):
    bucket.put("kept.json", [b'{"format":1}'])
    return kept.Store(bucket)


def test_a_zip_bomb_is_no_state(tmp_path):
    huge = np.lib.format.magic(1, 0)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000,), }"
    header += b" " * (118 - len(header) % 118 - 1) + b"\n"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.npy", huge + len(header).to_bytes(2, "little") + header)
    with pytest.raises(KeptError):
        check_state(
            (STATES[-1] / "kept-state.json").read_bytes(), (tmp_path / "bomb.npz").read_bytes()
        )


@pytest.fixture(autouse=True)
def somewhere(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("fuzz")
    monkeypatch.chdir(folder)
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def figures(request):
    yield
    TALLY.cases = len([name for name in globals() if name.startswith("test_")])
    TALLY.bad["tracebacks"] = request.session.testsfailed
    TALLY.save(FORM)
