"""What a retention would delete: the same as prune, shown before anything is deleted."""

import json
from urllib.parse import parse_qs, quote, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest

import kept
from kept.store.receipts import Receipts
from kept.web.facts.artifact.series import series_of
from kept.web.facts.artifact.whatif import whatif_of
from kept.web.query import Query
from kept.web.reading.reader import Reader
from tests.web.conftest import violations


def whatif(store, text, name="digits"):
    reader = Reader(store)
    return whatif_of(reader, series_of(reader, name), Query.parse(text))


@pytest.mark.parametrize(
    "rules",
    [
        {"last": 3},
        {"best": 2},
        {"best": 2, "monitor": "accuracy", "mode": "min"},
        {"every": "5 epochs"},
        {"last": 1, "every": "4 epochs", "best": 1},
        {"within": "7d"},
        {"bytes": "700kB"},
        {"last": 5, "bytes": "450kB"},
    ],
    ids=str,
)
def test_it_is_what_prune_deletes(store, rules):
    text = "&".join(f"{name}={quote(str(value))}" for name, value in rules.items())
    decisions = store.prune("digits", kept.Keep(**rules), dry_run=True)
    assert whatif(store, text).doomed == {d.record.index for d in decisions if not d.keep}


@pytest.mark.parametrize("text", ["last=3", "best=2&last=1", "every=5+epochs", "bytes=700kB"])
def test_the_freed_bytes_are_those_that_gc_frees(store, text):
    found = whatif(store, text)
    assert found.doomed
    for index in found.doomed:
        store.delete(f"digits:v{index}", force=True)
    freed = store.gc(grace=0, dry_run=True)
    assert found.freed.is_exact
    assert found.freed.size == freed.bytes
    assert found.text.startswith(f"{len(found.doomed)} versions would go")


def test_bytes_that_kept_versions_share_do_not_come_back(store):
    content = [bytes(200_000), b"a" * 1000]
    for number in range(3):
        files = kept.MemoryFile("model.bin", content) if number != 1 else kept.MemoryFile(
            "model.bin", [*content, b"b"])  # fmt: skip
        store.log_artifact("twin", files, capture=False)
    found = whatif(store, "last=1", "twin")
    assert found.doomed
    for index in found.doomed:
        store.delete(f"twin:v{index}", force=True)
    assert found.freed.size == store.gc(grace=0, dry_run=True).bytes


def test_bases_of_compacted_versions_count(tmp_path):
    made = kept.open_store(tmp_path / "store")
    random = np.random.default_rng(0)
    weights = random.random(200_000).astype("f4")
    for _ in range(6):
        weights = weights + random.normal(0, 1e-4, weights.shape).astype("f4")
        made.log_artifact("m", kept.MemoryFile("w.bin", [weights.tobytes()]), capture=False)
    made.compact("m")
    found = whatif(made, "last=2", "m")
    assert len(found.doomed) == 4
    for index in found.doomed:
        made.delete(f"m:v{index}")
    assert found.freed.size == made.gc(grace=0, dry_run=True).bytes


def test_versions_that_a_mirror_lacks_stay(store):
    receipts = Receipts(store.bucket, "s3://nowhere/x")
    receipts.confirm("digits", 5, 4)
    assert max(whatif(store, "last=1").doomed) <= 4, "the mirror itself is not asked"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("last=x", "last is a number of versions, 1 or more. Received: 'x'"),
        ("last=0", "Received: '0'"),
        ("best=-1", "Received: '-1'"),
        ("last=99999999999", "Received"),
        ("every=10", "every is a text such as '10 epochs'"),
        ("within=soon", "within is a time such as '7d'"),
        ("bytes=much", "bytes is a number of bytes"),
        ("best=1&monitor=lr", "Pass mode='max'"),
        ("best=1&monitor=loss&mode=up", "mode is 'min' or 'max'"),
    ],
)
def test_bad_values_say_what_is_wrong_and_stay(store, text, part):
    found = whatif(store, text)
    assert part in found.error
    assert found.doomed == frozenset()
    assert found.typed == found.typed | dict(pair.split("=") for pair in text.split("&"))


def test_a_metric_alone_is_no_rule(store):
    assert whatif(store, "monitor=val_loss&mode=min").text == ""


def test_nothing_to_delete_has_no_button(store):
    found = whatif(store, "last=100")
    assert found.text == "Nothing would go: 12 versions would stay."
    assert found.button == ""


def test_typing_shows_what_would_go(store, serve, page):
    page.goto(serve(store.location).address + "artifacts/digits/")
    page.wait_for_selector(".drawn svg")
    page.get_by_label("last", exact=True).fill("3")
    button = page.locator("#whatif a.danger")
    button.wait_for()
    freed = whatif(store, "last=3").freed
    assert button.inner_text() == f"Delete 9 versions, free {freed}, undo until gc…"
    assert page.locator("tr.goes").count() == 9
    assert page.locator("tr.goes").first.get_by_text("would go").is_visible()
    page.get_by_text("Hollow: 9 versions that would go.").first.wait_for()
    page.get_by_label("last", exact=True).fill("nine")
    page.locator("#whatif .message").wait_for()
    assert page.get_by_label("last", exact=True).input_value() == "nine"
    assert page.locator("tr.goes").count() == 0
    assert violations(page) == []


def test_apply_asks_with_the_same_rules(store, serve, page):
    page.goto(serve(store.location).address + "artifacts/digits/?last=2&every=5+epochs&by=version")
    page.locator("#whatif a.danger").click()
    assert urlsplit(page.url).path == "/actions/prune"
    query = parse_qs(urlsplit(page.url).query)
    assert query == {"name": ["digits"], "last": ["2"], "every": ["5 epochs"]}
    assert "Delete 8 versions" in page.inner_text("main")


def test_the_answer_as_json(store, serve):
    address = serve(store.location).address
    with urlopen(f"{address}artifacts/digits/whatif.json?last=2&best=1") as answer:
        found = json.load(answer)
    assert set(found["versions"]) == {f"v{number}" for number in range(10)}
    assert found["versions"]["v0"] == "no rule keeps it"
    assert found["exact"]
    assert found["freed"] > 0
