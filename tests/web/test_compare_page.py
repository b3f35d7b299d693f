"""The comparison of versions: what changed?"""

import re
import shutil

import numpy as np
import pytest
from playwright.sync_api import expect

import kept
from kept.web.facts.compare import changes
from kept.web.links import Links
from kept.web.page import Frame, render
from kept.web.pages.compare import PARTS, compare_page
from kept.web.query import Query
from kept.web.reading.reader import Reader
from tests.helpers import keras
from tests.web.conftest import NARROW, violations
from tests.web.models import fitted_store

LATER = '<p class="later"><a class="button" href="?v=m%3Av0&amp;v=m%3Av1&amp;with=changes'
HOSTILE = "<script>alert(1)</script>\u202eevil"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fitted_store(tmp_path_factory.mktemp("fitted"))


def html_of(store, text, *, in_files=False, reader=None):
    query = Query.parse(text)
    found = compare_page(reader or Reader(store), query)
    links = Links(2 if in_files else 1, in_files=in_files)
    return render(found, Frame(store.location), links, query)


def versions_of(store, count, **metadata):
    """Log versions of a small model, each with two layers moved by another amount."""
    base = np.random.default_rng(0).random(20_000, np.float32)
    for number in range(count):
        data = keras({"near": base + 0.001 * number, "far": base + 0.5 * number}, number)
        store.log_artifact("m", kept.MemoryFile("m.keras", [data]), capture=False,
                           metadata={"run": number, "same": 1, **metadata})  # fmt: skip


def test_two_versions_show_differences_only(fitted, serve, page):
    server = serve(fitted.location)
    page.goto(f"{server.address}compare/?v=digits:v1&v=digits:v2")
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare versions of digits")
    metrics = page.get_by_role("region", name="Table of metrics")
    loss = metrics.get_by_role("row", name=re.compile("^loss"))
    expect(loss).to_contain_text("★ best value")
    expect(loss).to_contain_text("≠")
    metadata = page.get_by_role("region", name="Table of metadata")
    expect(metadata).to_contain_text("epoch")
    expect(metadata).not_to_contain_text("framework")
    page.get_by_role("link", name="Show equal values, too").click()
    expect(metadata).to_contain_text("framework")
    page.go_back()
    expect(metadata).not_to_contain_text("framework")
    layers = page.locator("#changes")
    expect(layers).to_contain_text("encoder/kernel")
    expect(layers).to_contain_text("cosine")
    expect(page.locator("#config")).to_contain_text("None that differs")
    assert violations(page) == []


def test_three_versions_have_a_heat_map(tmp_path, serve, page):
    store = kept.open_store(tmp_path / "store")
    versions_of(store, 3)
    page.goto(f"{serve(store.location).address}compare/?v=m:v0&v=m:v1&v=m:v2")
    heat = page.get_by_role("region", name="Relative change of layers")
    rows = heat.locator("tbody tr")
    expect(rows).to_have_count(2)
    assert [row.split()[0] for row in rows.all_inner_texts()] == ["far", "near"]
    expect(heat.locator("td.heat-5")).not_to_have_count(0)
    for column in ("v0 → v1", "v1 → v2"):
        expect(heat.get_by_role("columnheader", name=column)).to_be_visible()
    assert violations(page) == []


def test_many_layers_have_a_chart_beside_the_table(tmp_path, serve, page):
    store = kept.open_store(tmp_path / "store")
    rng = np.random.default_rng(0)
    for number in range(3):
        data = keras({f"layer_{n}": rng.random(50, np.float32) for n in range(20)}, number)
        store.log_artifact("m", kept.MemoryFile("m.keras", [data]), capture=False)
    page.goto(f"{serve(store.location).address}compare/?v=m:v0&v=m:v1&v=m:v2")
    page.locator("#changes").scroll_into_view_if_needed()
    chart = page.get_by_label(re.compile("^Heat map"))
    expect(chart.locator("svg.marks")).to_be_visible()
    page.get_by_text("Relative change of each layer", exact=True).click()
    expect(page.get_by_role("region", name="Relative change of layers")).to_contain_text("layer_19")


def test_tensors_without_a_finite_value_have_no_size_of_change(tmp_path):
    store = kept.open_store(tmp_path / "store")
    healthy = np.ones(5_000, np.float32)
    for value in (healthy, healthy * np.nan, healthy * np.inf):
        data = keras({"lost": value, "other": value})
        store.log_artifact("m", kept.MemoryFile("m.keras", [data]), capture=False)
    for pair in ("v=m:v0&v=m:v1", "v=m:v1&v=m:v2", "v=m:v2&v=m:v0"):
        found = html_of(store, f"{pair}&with=changes")
        assert "lost/" in found, pair
        assert "5,000 NaN" in found or "5,000 infinite" in found or "before 0, 5,000" in found


def test_the_largest_change_comes_first_and_new_nan_before_all(tmp_path):
    store = kept.open_store(tmp_path / "store")
    base = np.ones(2000, np.float32)
    broken = base.copy()
    broken[0] = np.nan
    for number, sick in enumerate((base, broken)):
        data = keras({"still": base, "small": base + 0.01 * number, "large": base + number,
                      "sick": sick, **({"extra": base} if number else {})}, number)  # fmt: skip
        store.log_artifact("m", kept.MemoryFile("m.keras", [data]), capture=False)
    found = html_of(store, "v=m:v0&v=m:v1&with=changes")
    names = re.findall(r'<th scope="row"><bdi>(\w+)/', found)
    assert names[0] == "sick"
    assert names.index("large") < names.index("small")
    assert "still" not in names
    assert "1 NaN" in found
    assert "New NaN or infinities" in found
    assert "+ added" in found


def test_versions_that_cannot_be_compared_leave_the_others(fitted, serve, page):
    wanted = ["digits:v0", "digits:v1", "nothing:v1", "fine:latest", HOSTILE]
    query = "&".join(f"v={text}" for text in wanted)
    page.goto(f"{serve(fitted.location).address}compare/?{query}")
    notes = page.locator(".note.bad").all_inner_texts()
    assert [any(part in note for note in notes) for part in ("v0 was deleted", "nothing", "script")]
    assert len(notes) == 3
    heads = page.get_by_role("region", name="The versions")
    for text in ("digits:v1", "fine:v"):
        expect(heads).to_contain_text(text)
    assert violations(page) == []


def test_a_sixth_version_is_left_out(tmp_path):
    store = kept.open_store(tmp_path / "store")
    versions_of(store, 6)
    found = html_of(store, "&".join(f"v=m:v{number}" for number in range(6)))
    assert "m:v5 is left out: up to 5 versions" in found
    assert found.count('class="remove"') == 5


def test_the_form_adds_removes_and_reverses(fitted, serve, page):
    page.goto(f"{serve(fitted.location).address}compare/")
    expect(page.get_by_role("heading", name="Choose two to five versions")).to_be_visible()
    assert violations(page) == []
    page.get_by_label("Compare", exact=True).fill("digits:v1")
    page.get_by_label("and").fill("digits:v2")
    page.keyboard.press("Enter")
    page.wait_for_url("**v=digits%3Av1&v=digits%3Av2")
    page.get_by_label("Add").fill("fine")
    page.get_by_role("button", name="Add").click()
    heads = page.get_by_role("region", name="The versions").locator("thead th")
    expect(heads).to_have_count(4)
    first = heads.nth(1).inner_text()
    page.get_by_role("link", name="Reverse the order").click()
    expect(heads.nth(3)).to_have_text(first)
    page.get_by_role("link", name="Remove digits:v1 from the comparison").click()
    expect(heads).to_have_count(3)
    page.go_back()
    expect(heads).to_have_count(4)


def test_a_large_comparison_is_asked_for(tmp_path, monkeypatch):
    store = kept.open_store(tmp_path / "store")
    versions_of(store, 2)
    monkeypatch.setattr(changes, "ASKED_FROM", 1000)
    reader = Reader(store)
    found = html_of(store, "v=m:v0&v=m:v1", reader=reader)
    assert re.search(r"kept reads about [\d.]+ kB", found)
    assert LATER not in found
    html_of(store, "v=m:v0&v=m:v1&with=changes", reader=reader)
    again = html_of(store, "v=m:v0&v=m:v1", reader=reader)
    assert LATER in again, "it is known now"


def test_a_comparison_is_read_once(tmp_path):
    store = kept.open_store(tmp_path / "store")
    versions_of(store, 2)
    reader = Reader(store)
    before = html_of(store, "v=m:v0&v=m:v1&with=changes", reader=reader)
    shutil.rmtree(tmp_path / "store" / "blobs")
    assert html_of(store, "v=m:v0&v=m:v1&with=changes", reader=reader) == before
    assert "cannot be compared" in html_of(store, "v=m:v0&v=m:v1&with=changes")


def test_the_same_content_is_named(tmp_path):
    store = kept.open_store(tmp_path / "store")
    versions_of(store, 1)
    store.copy("m:v0", "copy")
    found = html_of(store, "v=m:v0&v=copy:v0&with=changes")
    assert "the same content as m:v0" in found
    assert "No tensor and no file differs" in found


def test_hostile_values_are_shown_as_text(tmp_path, serve, page):
    store = kept.open_store(tmp_path / "store")
    for number in range(2):
        metadata = {HOSTILE: f"{HOSTILE}{number}", "long": "x" * 1_000_000 + str(number),
                    "metrics": {HOSTILE: number}}  # fmt: skip
        store.log_artifact("m", kept.MemoryFile("a.bin", [b"%d" % number]), metadata=metadata)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"{serve(store.location).address}compare/?v=m:v0&v=m:v1&with=changes&with=config")
    assert page.locator("main script:not([type='application/json'])").count() == 0
    assert "<script>alert(1)</script>" in page.locator("main").inner_text()
    assert len(page.content()) < 100_000
    assert violations(page) == []


def test_a_narrow_window_scrolls_tables_and_not_the_page(fitted, serve, page):
    page.set_viewport_size(NARROW)
    server = serve(fitted.location)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{server.address}compare/?v=digits:v1&v=digits:v2&v=fine:v0&with=changes")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        assert violations(page) == []


def test_an_exported_comparison_is_complete_and_has_no_form(fitted):
    every = "&".join(f"with={part}" for part in PARTS)
    found = html_of(fitted, f"v=digits:v1&v=digits:v2&v=fine:v0&{every}", in_files=True)
    main = found[found.index("<main") : found.index("</main>")]
    assert "<form" not in main
    assert "encoder/kernel" in main
    links = re.findall(r'href="([^"#]+)"', main)
    assert links
    assert [link for link in links if not link.endswith("index.html")] == []


def test_two_references_to_one_version_are_named(fitted):
    newest = fitted["digits:latest"].reference
    found = html_of(fitted, f"v={newest}&v=digits:latest")
    assert f"digits:latest is left out: {newest} is compared already." in found
