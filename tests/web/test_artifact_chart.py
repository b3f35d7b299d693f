"""The chart of an artifact: what it shows, hovering, opening, saving; on any amount of versions."""

import json
import math
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from playwright.sync_api import expect

import kept
from kept.web.facts.artifact.chart import MetricCharts
from kept.web.facts.artifact.choice import choice_of
from kept.web.facts.artifact.series import series_of
from kept.web.query import Query
from kept.web.reading.reader import Reader
from tests.web.conftest import make_series


def charts(store, name="digits", query=""):
    series = series_of(Reader(store), name)
    return MetricCharts(series, choice_of(series, Query.parse(query)))


def open_chart(serve, page, store, path="artifacts/digits/"):
    page.goto(serve(store.location).address + path)
    page.wait_for_selector(".drawn svg")


def redrawn(page, act):
    """Do something and wait until the chart is drawn again."""
    page.evaluate("""void (window.drawn = new Promise(done => {
        document.addEventListener("kept-drawn", () => done(true), {once: true}) }))""")
    act()
    assert page.evaluate("window.drawn")


def test_the_metric_of_best_and_one_that_rises_are_shown(store):
    found = charts(store)
    assert found.choice.metrics == ["val_loss", "accuracy"]
    assert found.choice.by == "epoch"
    assert len(found.specs) == 2, "what falls and what rises have axes of their own"


def test_metrics_of_one_direction_and_size_share_a_chart(store):
    store.version("digits:v3").log_metrics({"test_loss": 0.3, "train_loss": 5000.0})
    found = charts(store, query="m=val_loss&m=test_loss&m=train_loss")
    titles = [spec["title"]["text"] for spec in found.specs]
    assert titles == ["val_loss, test_loss", "train_loss"]


def test_unknown_metrics_and_axes_are_left_out(store):
    found = charts(store, query="m=no_such&m=accuracy&by=nonsense")
    assert (found.choice.metrics, found.choice.by) == (["accuracy"], "epoch")


def test_an_artifact_without_epochs_is_shown_by_version(store):
    content = kept.MemoryFile("x", [b"x"])
    store.log_artifact("plain", content, metadata={"metrics": {"loss": 1.0}}, capture=False)
    found = charts(store, "plain")
    assert found.choice.by == "version"
    assert found.summary == (
        "loss of 1 version by version. loss: newest 1 (v0), lowest 1 (v0), highest 1 (v0)."
    )


def test_a_metric_without_a_number_says_so(store):
    content = kept.MemoryFile("x", [b"x"])
    metadata = {"metrics": {"loss": math.nan}}
    store.log_artifact("plain", content, metadata=metadata, capture=False)
    assert "loss has no value that can be shown." in charts(store, "plain").summary


def test_the_chart_is_drawn_under_the_policy_and_marks_best_and_aliases(store, serve, page):
    store.set_alias("digits:v11", "best")
    open_chart(serve, page, store)
    text = page.locator(".drawn").text_content()
    assert "best v11 0.1667 (epoch 12)" in text
    assert "prod" in text
    label = page.locator(".chart").first.get_attribute("aria-label")
    assert "val_loss: newest 0.166667 (v11), lowest 0.166667 (v11), highest 0.9 (v0)." in label


def test_choosing_metrics_and_axes_moves_the_address_without_a_reload(store, serve, page):
    open_chart(serve, page, store)
    page.evaluate("window.same = true")
    redrawn(page, lambda: page.get_by_label("accuracy", exact=True).uncheck())
    redrawn(page, lambda: page.get_by_label("version", exact=True).check())
    redrawn(page, lambda: page.get_by_label("log scale").check())
    query = parse_qs(urlsplit(page.url).query)
    assert query == {"m": ["val_loss"], "by": ["version"], "log": ["1"]}
    assert page.locator(".drawn svg").count() == 1
    assert "accuracy" not in page.locator("thead").inner_text()
    assert page.evaluate("window.same")
    page.reload()
    assert not page.get_by_label("accuracy", exact=True).is_checked()


def test_the_form_works_without_javascript(store, serve, browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(serve(store.location).address + "artifacts/digits/")
    tab.get_by_label("accuracy", exact=True).uncheck()
    tab.get_by_label("last", exact=True).fill("3")
    tab.get_by_role("button", name="Preview").click()
    assert "9 versions would go" in tab.inner_text("#whatif")
    picture = tab.locator("noscript img, img").first
    assert picture.get_attribute("src").startswith("chart.svg?")
    context.close()


def test_hovering_shows_all_metrics_and_a_click_opens_the_version(store, serve, page):
    open_chart(serve, page, store)
    box = page.locator(".drawn svg").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 40, box["y"] + box["height"] / 2)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "0.166667" in tip.inner_text()
    assert "accuracy" in tip.inner_text()
    page.mouse.click(box["x"] + box["width"] - 40, box["y"] + box["height"] / 2)
    page.wait_for_url("**/artifacts/digits/v11/")


def test_a_click_with_shift_selects_the_row(store, serve, page):
    open_chart(serve, page, store)
    box = page.locator(".drawn svg").first.bounding_box()
    page.keyboard.down("Shift")
    page.mouse.click(box["x"] + box["width"] - 40, box["y"] + box["height"] / 2)
    page.keyboard.up("Shift")
    page.wait_for_selector("tr.selected")
    assert page.get_by_label("Select v11", exact=True).is_checked()


def test_the_chart_follows_the_theme(store, serve, page):
    open_chart(serve, page, store)
    colour = """getComputedStyle(document.querySelector(
        '.drawn svg .mark-line path, .drawn svg path[stroke^="var"]')).stroke"""
    light = page.evaluate(colour)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(colour) != light


def test_the_chart_is_saved_as_svg_and_png(store, serve, page):
    open_chart(serve, page, store, "artifacts/digits/?m=val_loss&m=accuracy&log=1")
    with page.expect_download() as saved:
        page.get_by_role("link", name="SVG").click()
    assert saved.value.suggested_filename == "digits.svg"
    text = saved.value.path().read_text()
    assert text.startswith("<svg")
    assert "var(" not in text, "a file has no style sheet of the page"
    with page.expect_download() as saved:
        page.get_by_role("link", name="PNG").click()
    assert saved.value.path().read_bytes()[:4] == b"\x89PNG"


def test_the_library_is_kept_by_the_browser(store, serve):
    address = serve(store.location).address
    with urlopen(address + "artifacts/digits/") as answer:
        page = answer.read().decode()
    name = page.partition("static/vega-")[2].partition('"')[0]
    with urlopen(f"{address}static/vega-{name}") as answer:
        assert "max-age=31536000" in answer.headers["Cache-Control"]
        assert b"vegaEmbed" in answer.read()


def test_many_versions_are_drawn_with_fewer_points_in_words(tmp_path):
    made = kept.open_store(tmp_path / "store")
    make_series(made, "digits", 1)
    series = series_of(Reader(made), "digits")
    [record] = series.live
    series.live = [record._replace(index=n, aliases=()) for n in reversed(range(10_000))]
    for n in range(10_000):
        series._metrics[n] = {"val_loss": math.sin(n / 500), "accuracy": 1.0}
    found = MetricCharts(series, choice_of(series, Query.parse("m=val_loss&by=version")))
    [spec] = found.specs
    assert "of 10,000 points are shown" in spec["title"]["subtitle"][0]
    assert len(spec["data"]["values"]) <= 1000
    assert len(json.dumps(spec)) < 300_000


def test_late_metrics_begin_where_they_were_measured(store):
    store.version("digits:v10").log_metrics({"late": 1.0})
    store.version("digits:v11").log_metrics({"late": 2.0})
    [spec] = charts(store, query="m=late").specs
    assert [row["n"] for row in spec["data"]["values"]] == [10, 11]


def test_a_new_version_appears_in_the_open_page(store, serve, page):
    open_chart(serve, page, store)
    page.get_by_label("Select v3", exact=True).check()
    content = kept.MemoryFile("model.bin", [b"new"])
    metadata = {"epoch": 13, "monitor": "val_loss", "mode": "min", "value": 0.01,
                "metrics": {"val_loss": 0.01, "accuracy": 0.99}}  # fmt: skip
    store.log_artifact("digits", content, metadata=metadata, aliases=["fresh"], capture=False)
    expect(page.locator("tbody tr")).to_have_count(13, timeout=20_000)
    expect(page.locator(".drawn").first).to_contain_text("fresh", timeout=20_000)
    assert page.get_by_label("Select v3", exact=True).is_checked()


def test_an_exported_chart_is_drawn_and_saved_without_a_server(store, tmp_path, page):
    target = tmp_path / "export"
    command = [sys.executable, "-m", "kept", "--store", store.location, "ui"]
    subprocess.run([*command, "--export", target], check=True)
    page.goto(f"file://{target}/artifacts/digits/index.html")
    page.wait_for_selector(".drawn svg")
    page.get_by_label("accuracy", exact=True).wait_for(state="detached")
    with page.expect_download() as saved:
        page.get_by_role("button", name="save as SVG").click()
    text = saved.value.path().read_text()
    assert text.startswith("<svg")
    assert "var(" not in text
