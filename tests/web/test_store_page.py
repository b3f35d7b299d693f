"""The first page: rows, totals, search, filters, order, what waits, damage, and no store at all."""

import os
import re
import shutil

import pytest

import kept
from kept.errors import StoreReplaced
from kept.store.metadata import MeasuredMetadata
from kept.sync.outbox.outbox import Outbox
from kept.units import size_text
from kept.web.facts.store import rows
from kept.web.facts.store.rows import stored_by
from kept.web.facts.store.waiting import waiting
from kept.web.links import Links
from kept.web.page import Frame, render
from kept.web.pages.store import store_page
from kept.web.query import Query
from kept.web.reading.reader import Reader
from kept.web.reading.standing import Standing, standing_of
from kept.web.reading.versions import followed, read_versions
from tests.web.conftest import NARROW, make_series, violations


def values(store, query=""):
    return store_page(Reader(store), Query.parse(query)).values


def names(store, query=""):
    return [row["is"].name for row in values(store, query)["rows"]]


def row_of(store, name):
    return Reader(store).table().standings[name]


def html(store, query=""):
    asked = Query.parse(query)
    return render(store_page(Reader(store), asked), Frame(store.location), Links(), asked)


def put(store, name, number, **metadata):
    """Log a version as a callback does: with the bytes that it added."""
    content = kept.MemoryFile("m.bin", [b"%08d" % number, bytes(1000)])
    return store.log_artifact(name, content, metadata=MeasuredMetadata(metadata), capture=False)


def waits_in(reader):
    return waiting(reader, reader.table().standings)


def test_a_row_says_where_the_artifact_stands(store):
    store.promote("digits:v11", "best")
    row = row_of(store, "digits")
    assert (row.versions, row.newest, row.newest_aliases) == (12, 11, ["epoch_12", "prod"])
    assert (row.metric, row.mode, row.best) == ("val_loss", "min", 11)
    assert row.best_value == row.value == 0.8 / 12 + 0.1
    assert row.aliases == [("prod", 11)]
    assert row.spark.startswith("<svg")
    assert row.updated > store.version("digits:v11").record.created_at, "an alias is a change"


def test_bytes_are_those_that_saves_have_counted(tmp_path):
    store = kept.open_store(tmp_path / "store")
    sizes = [put(store, "m", number % 2).bytes_new for number in range(3)]
    found = stored_by([row_of(store, "m")])
    assert found.size == sum(sizes)
    assert (found.logical, found.sign) == (3 * 1008, "")
    store.delete("m:v0")
    found = stored_by([row_of(store, "m")])
    assert found.sign == "≤ ", "the deleted version may share bytes with the others"
    assert f"at most <b>{size_text(found.size)}</b> stored" in html(store)
    store.log_artifact("m", kept.MemoryFile("m.bin", [b"unmeasured"]))
    found = stored_by([row_of(store, "m")])
    assert found.sign == "≥ "
    assert found.saved is None
    assert stored_by([row_of(kept.open_store(tmp_path / "store"), "m")]) == found


def test_bytes_of_versions_that_nothing_measured_are_not_known(store):
    assert stored_by([row_of(store, "digits")]).size is None
    assert "kept du counts it" in html(store)


def test_the_rule_of_an_artifact_decides_which_metric_is_shown(store):
    store.artifact("digits").set_best("accuracy", "max")
    row = row_of(store, "digits")
    assert (row.metric, row.mode, row.best) == ("accuracy", "max", 11)


def test_health_of_the_newest_version_is_marked(tmp_path):
    store = kept.open_store(tmp_path / "store")
    put(store, "m", 0, health="unhealthy", health_findings=["dense: 12 of 640 values are NaN"])
    put(store, "fine", 0, health="ok")
    assert row_of(store, "m").health == "unhealthy"
    assert row_of(store, "fine").health is None
    assert "✗ unhealthy" in html(store)
    assert names(store, "show=unhealthy") == ["m"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=dig", ["digits"]),
        ("q=DIG", ["digits"]),
        ("q=*e?", ["other"]),
        ("q=t+i", ["digits"]),
        ("q=nothing", []),
        ("q=val_loss+<+0.2", ["digits"]),
        ("q=val_loss+<+2&sort=name", ["digits", "other"]),
        ("q=aliases+=+prod", ["digits"]),
        ("q=not+tags&sort=name", ["digits", "other"]),
        ("q=val_loss+<+0", []),
    ],
)
def test_the_search_takes_names_and_conditions(store, query, expected):
    assert names(store, query) == expected


def test_a_condition_shows_how_many_versions_fit_and_the_newest(store):
    found = values(store, "q=val_loss+<+0.2")["search"].fits["digits"]
    expected = store.search("val_loss < 0.2")
    assert (found.versions, found.newest) == (len(expected), expected[0].index)


def test_a_wrong_condition_keeps_its_text_and_says_where(store, serve, page):
    page.goto(serve(store.location).address)
    page.keyboard.press("/")
    page.keyboard.type("val_loss >> 2")
    page.keyboard.press("Enter")
    said = page.get_by_role("alert")
    assert "expected an operator" in said.text_content()
    assert said.text_content().rstrip().endswith("^^")
    assert page.get_by_role("searchbox").input_value() == "val_loss >> 2"
    assert violations(page) == []


@pytest.mark.parametrize(
    ("order", "first"),
    [("name", "a"), ("-name", "c"), ("versions", "b"), ("-versions", "c"), ("-updated", "b"),
     ("metric", "c"), ("-metric", "a"), ("nonsense", "b")],
)  # fmt: skip
def test_the_order_is_in_the_address(tmp_path, order, first):
    store = kept.open_store(tmp_path / "store")
    for name, count, loss in (("a", 2, 3), ("c", 3, 1), ("b", 1, 2)):
        for number in range(count):
            put(store, name, number, monitor="loss", mode="min", metrics={"loss": loss})
    expected = first if order != "nonsense" else "a"
    assert names(store, f"sort={order}")[0] == expected


def test_rows_come_in_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "PAGE", 4)
    store = kept.open_store(tmp_path / "store")
    for number in range(7):
        put(store, f"m{number}", 0)
    assert len(names(store, "sort=name")) == 4
    assert names(store, "sort=name&page=2") == ["m4", "m5", "m6"]
    assert names(store, "sort=name&page=99") == ["m4", "m5", "m6"]
    assert "page 2 of 2, 7 artifacts" in html(store, "page=2")


def test_filters(store):
    store.log_artifact("table", kept.MemoryFile("t.csv", [b"1"]), type="dataset")
    assert names(store, "type=dataset") == ["table"]
    assert names(store, "show=live") == []
    store.remove_artifact("other")
    assert names(store, "sort=name") == ["digits", "table"]
    assert names(store, "show=removed") == ["other"]
    assert "actions/restore?name=other" in html(store, "show=removed")
    assert values(store)["removed"] == 1


def test_a_renamed_artifact_is_among_the_removed_ones_with_its_new_name(store):
    store.rename("other", "another")
    assert names(store, "sort=name") == ["another", "digits"]
    assert "renamed to" in html(store, "show=removed")


def test_what_waits_in_the_outbox_and_for_mirrors(store, tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT_OUTBOX", str(tmp_path / "outbox"))
    path = tmp_path / "m.bin"
    path.write_bytes(b"12345")
    Outbox().add("s3://elsewhere/store", {"m.bin": path}, {"artifact": "digits"})
    from kept.store.receipts import Receipts

    Receipts(store.bucket, str(tmp_path / "mirror")).confirm("digits", 9, 8)
    reader = Reader(store)
    in_mirror, in_outbox = sorted(waits_in(reader), key=lambda each: each.first is None)
    assert (in_outbox.place, in_outbox.versions, in_outbox.size) == ("s3://elsewhere/store", 1, 5)
    assert (in_mirror.versions, in_mirror.first, in_mirror.last) == (3, 9, 11)
    Receipts(store.bucket, str(tmp_path / "mirror")).confirm("digits", 13, 11)
    assert [each.place for each in waits_in(reader)] == ["s3://elsewhere/store"]
    assert "Waits to be copied" in html(store)


def test_damage_is_said_and_the_rest_works(store):
    log = os.path.join(store.location, "artifacts", "other", "log")
    with open(os.path.join(log, min(os.listdir(log))), "w") as file:
        file.write("{")
    text = html(kept.open_store(store.location))
    assert "⚠ damaged" in text
    assert "Damage</b> in 1 artifact" in text
    assert ">digits<" in text


def test_a_store_that_does_not_exist_says_what_to_type(tmp_path, serve, page):
    page.goto(serve(tmp_path / "none").address)
    assert page.get_by_role("heading", name="This store is empty").is_visible()
    assert page.get_by_text("kept.ModelCheckpoint").is_visible()
    assert violations(page) == []
    assert not (tmp_path / "none").exists(), "looking creates nothing"


def test_a_store_that_was_deleted_under_the_page_is_an_error(store):
    reader = Reader(kept.open_store(store.location))
    store_page(reader, Query())
    shutil.rmtree(store.location)
    with pytest.raises(StoreReplaced):
        store_page(reader, Query())


def test_hostile_values_are_text(tmp_path):
    store = kept.open_store(tmp_path / "store")
    metric = "<img src=x onerror=alert(1)>\u202e"
    put(store, "m", 0, monitor=metric, mode="min", metrics={metric: 1.0}, health="notes",
        health_findings=["<script>alert(1)</script>" * 1000])  # fmt: skip
    text = html(store)
    assert "<img src" not in text
    assert "<script>" not in text
    assert len(text) < 20_000


def test_it_is_clear_in_a_wide_and_a_narrow_window(store, serve, page):
    store.remove_artifact("other")
    page.goto(serve(store.location).address)
    assert violations(page) == []
    page.get_by_role("link", name="1 removed artifact").click()
    page.get_by_role("link", name="Undelete").wait_for()
    assert violations(page) == []
    page.get_by_role("link", name="name").click()
    page.wait_for_url(re.compile(r"show=removed&sort=name"))
    page.set_viewport_size(NARROW)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def grown(store, name, change):
    """Return the versions after a change, as they are followed and as they are read."""
    log = store.log(name)
    before = read_versions(log.view())
    change()
    return followed(before, log.view()), read_versions(log.view())


def test_versions_that_are_followed_are_those_that_are_read(store):
    store.promote("digits:v3", "best")

    def trains():
        make_series(store, "digits", 1)
        content = kept.MemoryFile("model.bin", [b"new"])
        store.log_artifact("digits", content, aliases=["best", "prod", "epoch_1"])
        store.delete("digits:v5")
        store.delete("digits:v4")

    follow, read = grown(store, "digits", trains)
    assert follow == read
    assert standing_of("digits", follow) == standing_of("digits", read)


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.set_alias("digits:v1", "here"),
        lambda store: store.version("digits:v1").log_metrics({"acc": 1}),
        lambda store: store.delete("digits:v11", force=True),
        lambda store: store.remove_artifact("digits", force=True),
        lambda store: store.artifact("digits").set_best("accuracy", "max"),
    ],
)
def test_what_cannot_be_followed_is_read(store, change):
    follow, read = grown(store, "digits", lambda: change(store))
    assert follow is None or follow == read


def test_a_standing_is_the_same_after_json(store):
    import json

    row = row_of(store, "digits")
    assert Standing.parsed(json.loads(json.dumps(row))) == row
