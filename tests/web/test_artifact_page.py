"""The page of an artifact: the best version in words, and the table of all versions."""

import json
import math
import random
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import expect

import kept
from kept.store.receipts import Receipts
from kept.web.facts.artifact.series import series_of
from kept.web.facts.artifact.storage import takes_of
from kept.web.reading.reader import Reader
from tests.web.conftest import NARROW, make_series, violations

HOSTILE = "a.b[0]\"'\\<script>alert(1)</script>"


def log(store, name, number=0, **metadata):
    content = kept.MemoryFile("model.bin", [b"%08d" % number])
    return store.log_artifact(name, content, metadata=metadata, capture=False)


def open_page(serve, page, store, path="artifacts/digits/", *options):
    page.goto(serve(store.location, *options).address + path)


def versions(page):
    return page.locator("table.rows tbody th a").all_inner_texts()


def chosen(page):
    return page.locator("input[name=select]:checked").evaluate_all("all => all.map(b => b.value)")


@pytest.mark.parametrize("size", [NARROW, None], ids=["narrow", "wide"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_violation(store, serve, page, size, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size or page.viewport_size)
    open_page(serve, page, store, "artifacts/digits/?last=3&where=epoch+%3C")
    page.wait_for_selector(".drawn svg")
    page.locator("#extra").evaluate("details => details.open = true")
    page.wait_for_selector("#extra .drawn svg")
    assert violations(page) == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], "the page itself does not scroll sideways"


def test_the_best_version_is_named_in_words(store, serve, page):
    store.set_alias("digits:v11", "best")
    open_page(serve, page, store)
    lead = page.locator(".lead")
    text = "v11 is best: val_loss 0.166667 (epoch 12), lowest that a callback saved."
    assert text in lead.inner_text()
    store.artifact("digits").set_best("accuracy", "min")
    page.reload()
    assert "v0 is best: accuracy 0.55 (epoch 1), by the rule accuracy min." in lead.inner_text()
    lead.get_by_role("link", name="v0").click()
    page.wait_for_url("**/artifacts/digits/v0/")


def test_protected_aliases_have_a_flag(store, serve, page):
    store.protect("prod")
    open_page(serve, page, store)
    assert page.locator("table .alias.protected").inner_text() == "prod"
    flag = "getComputedStyle(document.querySelector('.alias.protected'), '::before').content"
    assert "⚑" in page.evaluate(flag)


def test_columns_sort_on_the_server(store, serve, page):
    open_page(serve, page, store)
    page.get_by_role("link", name="accuracy", exact=True).click()
    page.wait_for_url("**sort=metric.accuracy*")
    assert versions(page)[:3] == ["v0", "v1", "v2"]
    page.get_by_role("link", name="accuracy", exact=True).click()
    page.wait_for_url("**sort=-metric.accuracy*")
    assert versions(page)[:3] == ["v11", "v10", "v9"]
    head = page.get_by_role("columnheader", name="accuracy")
    assert head.get_attribute("aria-sort") == "descending"
    page.go_back()
    assert versions(page)[0] == "v0"


def test_versions_without_the_value_are_last_in_both_orders(store, serve, page):
    store.version("digits:v3").log_metrics({"test_acc": 0.5})
    store.version("digits:v4").log_metrics({"test_acc": math.nan})
    store.version("digits:v5").log_metrics({"test_acc": 0.9})
    for sort, first in (("test_acc", ["v3", "v5"]), ("-metric.test_acc", ["v5", "v3"])):
        open_page(serve, page, store, f"artifacts/digits/?m=test_acc&sort={sort}")
        assert versions(page)[:2] == first
        assert len(versions(page)) == 12
    assert page.locator("tr[data-version='4'] td", has_text="nan").count() == 1


def test_a_filter_is_applied_while_it_is_typed_and_is_in_the_address(store, serve, page):
    open_page(serve, page, store)
    box = page.get_by_label("filter")
    box.fill("val_loss < 0.2 and aliases = prod")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert versions(page) == ["v11"]
    assert parse_qs(urlsplit(page.url).query)["where"] == ["val_loss < 0.2 and aliases = prod"]
    assert "1 version of 12" in page.inner_text("main")
    page.reload()
    assert versions(page) == ["v11"]
    assert box.input_value() == "val_loss < 0.2 and aliases = prod"


def test_a_wrong_filter_says_where_and_stays(store, serve, page):
    open_page(serve, page, store)
    page.get_by_label("filter").fill("val_loss < and")
    error = page.get_by_role("alert")
    error.wait_for()
    assert "^" in error.inner_text()
    assert page.get_by_label("filter").input_value() == "val_loss < and"
    assert len(versions(page)) == 12


def test_a_page_has_100_rows_and_links_to_the_next(tmp_path, serve, page):
    made = kept.open_store(tmp_path / "store")
    for number in range(130):
        log(made, "many", number, metrics={"loss": 1 / (number + 1)})
    open_page(serve, page, made, "artifacts/many/?m=loss&sort=metric.loss")
    assert versions(page)[0] == "v129"
    assert len(versions(page)) == 100
    page.get_by_role("link", name="older").click()
    page.wait_for_url("**page=2**")
    assert versions(page) == [f"v{number}" for number in reversed(range(30))]
    assert parse_qs(urlsplit(page.url).query)["sort"] == ["metric.loss"]


def test_selected_versions_are_compared(store, serve, page):
    open_page(serve, page, store)
    for key in "jxjxc":
        page.keyboard.press(key)
    page.wait_for_url("**/compare/?**")
    assert parse_qs(urlsplit(page.url).query)["v"] == ["digits:v11", "digits:v10"]


def test_one_version_is_no_comparison(store, serve, page):
    open_page(serve, page, store)
    page.get_by_label("Select v3", exact=True).check()
    assert page.get_by_role("button", name="Compare").is_disabled()
    assert "1 selected" in page.inner_text(".chosen")
    page.goto(page.url + "selected?select=v3")
    assert "Select 2 to 5 versions" in page.inner_text("main")


@pytest.mark.parametrize(("button", "verb"), [("Delete…", "delete"), ("Tag…", "tag")])
def test_selected_versions_reach_the_actions(store, serve, page, button, verb):
    open_page(serve, page, store)
    page.get_by_label("Select v3", exact=True).check()
    page.locator(".chosen").get_by_role("button", name=button).click()
    page.wait_for_url(f"**/actions/{verb}?ref=digits%3Av3")


def test_several_versions_are_tagged_one_by_one(store, serve, page):
    open_page(serve, page, store)
    page.get_by_label("Select v3", exact=True).check()
    page.get_by_label("Select v4", exact=True).check()
    assert page.get_by_role("button", name="Tag…").is_disabled()
    page.goto(page.url + "selected?do=tag&select=v3&select=v4")
    assert "Select one version for tag. Received: 2." in page.inner_text("main")
    page.goto(page.url.replace("do=tag", "do=%3Cb%3E"))
    assert "Received: '<b>'" in page.inner_text("main")


def test_what_mirrors_have_is_a_column(store, serve, page):
    Receipts(store.bucket, "s3://nowhere/x").confirm("digits", 5, 4)
    open_page(serve, page, store)
    assert page.get_by_text("✓ yes").count() == 5
    assert page.get_by_text("not yet").count() == 7


def test_damage_is_named_and_the_rest_is_shown(store, serve, page):
    record = sorted((Path(store.location) / "artifacts/digits/log").iterdir())[3]
    record.write_bytes(b"damaged")
    open_page(serve, page, store)
    assert "is damaged" in page.inner_text("main .note.warn")
    assert "v11" in versions(page)


def test_enter_opens_the_row(store, serve, page):
    open_page(serve, page, store)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/artifacts/digits/v11/")


def test_a_selection_survives_another_filter(store, serve, page):
    open_page(serve, page, store)
    page.get_by_label("Select v3", exact=True).check()
    page.get_by_label("filter").fill("epoch < 6")
    expect(page.locator("tbody tr")).to_have_count(5)
    assert chosen(page) == ["v3"]


def test_the_table_is_copied_as_csv(store, serve, page):
    open_page(serve, page, store, "artifacts/digits/?sort=metric.val_loss&where=epoch+%3E+10")
    page.get_by_role("button", name="copy as CSV").click()
    page.get_by_text("✓ copied").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].startswith("version,aliases,epoch,val_loss,accuracy,bytes,")
    assert [line.split(",")[0] for line in lines[1:]] == ["v11", "v10"]
    assert "latest epoch_12 prod" in lines[1]


def test_deleted_versions_are_behind_a_link_and_can_be_undeleted(store, serve, page):
    store.delete("digits:v3")
    store.delete("digits:v4")
    open_page(serve, page, store)
    assert "v3" not in versions(page)
    page.get_by_role("link", name="2 deleted").click()
    page.wait_for_url("**deleted=1**")
    assert versions(page) == ["v4", "v3"]
    assert "by hand" in page.inner_text("tr[data-version='3']")
    assert violations(page) == []
    page.get_by_label("Select v3", exact=True).check()
    page.get_by_role("button", name="Undelete").click()
    page.wait_for_url("**/actions/undelete?ref=digits%3Av3")
    page.go_back()
    page.get_by_role("link", name="back to the versions").click()
    expect(page.locator("tbody tr")).to_have_count(10)


def test_an_artifact_without_versions_says_how_to_restore_it(store, serve, page):
    store.remove_artifact("other")
    open_page(serve, page, store, "artifacts/other/")
    assert page.get_by_role("heading", name="All versions were deleted").is_visible()
    assert page.get_by_role("link", name="Restore other").is_visible()
    assert violations(page) == []


def test_a_renamed_artifact_links_to_its_new_name(store, serve, page):
    store.rename("other", "another")
    open_page(serve, page, store, "artifacts/other/")
    page.get_by_role("main").get_by_role("link", name="another").click()
    page.wait_for_url("**/artifacts/another/")
    assert versions(page) == ["v1", "v0"]


def test_an_artifact_without_metrics_has_a_table_and_no_chart(tmp_path, serve, page):
    made = kept.open_store(tmp_path / "store")
    content = kept.MemoryFile("table.csv", [b"1"])
    made.log_artifact("table", content, type="dataset", capture=False)
    open_page(serve, page, made, "artifacts/table/")
    assert "No metric was logged" in page.inner_text("main")
    assert versions(page) == ["v0"]
    assert page.locator("section .chart").count() == 0
    assert violations(page) == []


def test_read_only_offers_no_changes(store, serve, page):
    open_page(serve, page, store, "artifacts/digits/?last=2", "--read-only")
    assert "would go" in page.inner_text("#whatif")
    assert page.locator("a[href*='actions/'], button.danger").count() == 0


def test_hostile_names_and_values_are_texts(tmp_path, serve, page):
    made = kept.open_store(tmp_path / "store")
    for number in range(4):
        metrics = {HOSTILE: 1 / (number + 1), "=cmd": 1.0, "size": 2.0, "__proto__": 3.0,
                   "\u202eevil": 4.0, "x" * 5000: 5.0, "nan_loss": math.nan,
                   "late": 500.0 if number == 3 else math.inf}  # fmt: skip
        log(made, "hostile", number, epoch="<b>1</b>", monitor=HOSTILE, mode="min",
            value=1 / (number + 1), metrics=metrics, health="unhealthy",
            health_findings=["<img src=x onerror=alert(1)>"], stall_seconds="<i>")  # fmt: skip
    names = ["m=" + page.evaluate("encodeURIComponent", name)
             for name in (HOSTILE, "=cmd", "size", "late", "nan_loss", "\u202eevil")]  # fmt: skip
    open_page(serve, page, made, f"artifacts/hostile/?{'&'.join(names)}&log=1&last=1")
    page.wait_for_selector(".drawn svg")
    assert (
        page.locator("script:not([src]):not([type='application/json']), img, main b b").count() == 0
    )
    assert HOSTILE[:30] in page.inner_text("thead")
    assert page.get_by_text("✗ unhealthy").count() == 4
    page.locator("thead a", has_text="a.b[0]").click()
    page.wait_for_url("**sort=**")
    assert versions(page) == ["v3", "v2", "v1", "v0"]
    sheet = page.evaluate("fetch('table.csv' + location.search).then(a => a.text())")
    assert ",'=cmd," in sheet.splitlines()[0]
    assert violations(page) == []


def test_an_export_holds_the_chart_and_no_form(store, tmp_path, page):
    from kept.web.links import Links
    from kept.web.page import Frame, render
    from kept.web.pages.artifact import artifact_page
    from kept.web.query import Query
    from kept.web.reading.reader import Reader

    found = artifact_page(Reader(store), Query(), "digits")
    frame = Frame(store.location, read_only=True, is_live=False)
    folders = frozenset({"", "artifacts/digits/", "artifacts/digits/v11/"})
    values = {"runs": ()} | found.values
    html = render(found.__class__(found.template, found.title, values), frame,
                  Links(2, in_files=True, folders=folders), Query())  # fmt: skip
    assert "<form" not in re.sub(r'<form method="dialog">', "", html)
    assert "?" not in "".join(re.findall(r'(?:href|src)="([^"]*)"', html))
    spec = re.search(r'<script type="application/json" id="chart-spec">(.*?)</script>', html)
    assert len(json.loads(spec[1])) == 2, "a chart of what falls, and one of what rises"
    assert 'href="../../artifacts/digits/v11/index.html"' in html


def test_what_is_known_is_read_once(store):
    from kept.web.facts.artifact.series import series_of
    from kept.web.reading.reader import Reader

    reader = Reader(store)
    first = series_of(reader, "digits")
    make_series(store, "digits", 1)
    second = series_of(reader, "digits")
    assert second is not first
    assert second.needs is first.needs
    assert len(second.live) == 13


def test_new_shared_and_saved_bytes_are_the_size(tmp_path):
    made = kept.open_store(tmp_path / "store")
    state = random.Random(0).randbytes(5000)
    for number in range(4):  # small files share a blob, of which a version can need a part
        changed = random.Random(number + 1).randbytes(9000 + 10 * number)
        files = [kept.MemoryFile("state.npz", [state]), kept.MemoryFile("m.keras", [changed])]
        made.log_artifact("small", files, capture=False)
    series = series_of(Reader(made), "small")
    found = takes_of(series, series.live)
    assert [found[n] for n in range(4)] == [
        (14_000, 0, 0), (9010, 5000, 0), (9020, 5000, 0), (9030, 5000, 0)]  # fmt: skip


def test_what_differences_save_is_not_new(tmp_path):
    made = kept.open_store(tmp_path / "store")
    values = np.random.default_rng(0)
    weights = values.random(200_000).astype("f4")
    for _ in range(3):
        weights = weights + values.normal(0, 1e-4, weights.shape).astype("f4")
        made.log_artifact("m", kept.MemoryFile("w.bin", [weights.tobytes()]), capture=False)
    made.compact("m")
    series = series_of(Reader(made), "m")
    found = takes_of(series, series.live)
    assert all(sum(found[record.index]) == record.size for record in series.live)
    assert found[0].saved > 50_000


def test_a_selection_that_the_back_button_brings_is_counted(store, serve, page):
    open_page(serve, page, store)
    for name in ("v11", "v10"):
        page.get_by_label(f"Select {name}", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare/*")
    page.go_back()
    assert chosen(page) == ["v11", "v10"]
    expect(page.locator("[data-count]")).to_have_text("2 selected")
