"""The page of the log: its order, its filters, how much it reads, and how changes are undone."""

import re

import pytest

import kept
from kept.errors import ArtifactNotFound
from kept.store.promotion.history import changes_of
from kept.web.facts.log.entries import PAGE, part_of
from kept.web.pages.log import log_page
from kept.web.query import Query
from kept.web.reading.reader import Reader
from tests.web.conftest import NARROW, make_series, violations


def part(store, query=""):
    return part_of(Reader(store), Query.parse(query), with_undo=True)


def entries(store, query=""):
    return [entry for day in part(store, query).days for entry in day.entries]


def text_of(entry):
    return "".join(text for text, _ in entry.parts)


def undo_of(store, action, query=""):
    return next(each.undo for each in entries(store, query) if each.action == action)


def test_it_has_what_history_has_in_its_order(store):
    store.delete("digits:v2")
    store.protect("prod")
    found = [(each.artifact, text_of(each)) for each in entries(store)]
    assert found == [(each.artifact, each.text) for each in store.history()]


def test_pages_follow_each_other_without_a_gap_and_without_repetition(store):
    for number in range(150):
        store.version(f"digits:v{number % 10}").update(note=f"t{number}")
    found, query = [], Query()
    while True:
        page = part_of(Reader(store), query, with_undo=False)
        found += [entry for day in page.days for entry in day.entries]
        assert sum(len(day.entries) for day in page.days) <= PAGE
        if page.older is None:
            break
        query = page.older
    assert [text_of(each) for each in found] == [each.text for each in store.history()]


def test_changes_of_one_time_are_on_several_pages(tmp_path, monkeypatch):
    monkeypatch.setattr("kept.store.log.log.time_text", lambda _: "2026-01-01T00:00:00.000000Z")
    monkeypatch.setattr("kept.web.facts.log.entries.PAGE", 15)
    store = kept.open_store(tmp_path / "store")
    for name in ("a", "b"):
        make_series(store, name, 15)
    store.version("a:v0").update(note="last")
    found, query = [], Query()
    while query is not None:
        page = part_of(Reader(store), query, with_undo=False)
        found.append([text_of(entry) for day in page.days for entry in day.entries])
        query = page.older
    assert list(map(len, found)) == [15, 15, 1]
    assert [text for each in found for text in each] == [each.text for each in store.history()]


def test_the_first_page_opens_only_the_logs_that_are_on_it(tmp_path, monkeypatch):
    store = kept.open_store(tmp_path / "store")
    monkeypatch.setattr("kept.web.facts.log.entries.PAGE", 10)
    for number in range(10):
        make_series(store, f"old-{number}", 1)
    make_series(store, "new", 15)
    reader = Reader(store)
    reader.table()
    opened = []

    def counted(view, others=frozenset()):
        opened.append(view.log.name)
        return changes_of(view, others)

    monkeypatch.setattr("kept.web.facts.log.merged.changes_of", counted)
    assert part_of(reader, Query(), with_undo=True).older
    assert opened == ["new"]


def test_filters_by_artifact_kind_and_person(store, monkeypatch):
    monkeypatch.setenv("KEPT_USER", "ada")
    store.version("other:v0").update(note="good")
    store.delete("other:v0")
    assert {each.artifact for each in entries(store, "name=other")} == {"other"}
    assert [each.action for each in entries(store, "kind=deletion")] == ["delete"]
    assert [each.action for each in entries(store, "by=ada")] == ["delete", "note"]
    assert entries(store, "by=ada&kind=version") == []
    assert "ada" in part(store).people
    with pytest.raises(ArtifactNotFound):
        part(store, "name=missing")


def test_versions_in_a_text_are_links_only_if_it_is_about_them(store):
    store.version("digits:v3").update(note="worse than v4")
    newest = entries(store, "name=digits")[0]
    assert ("v3", 3) in newest.parts
    assert [index for _, index in newest.parts if index is not None] == [3]


def test_what_can_be_undone_has_its_action(store):
    store.delete("digits:v2")
    assert undo_of(store, "delete").pairs == (("ref", "digits:v2"),)
    store.undelete("digits:v2")
    assert undo_of(store, "delete") is None, "it exists again"
    store.set_alias("digits:v5", "prod")
    assert undo_of(store, "alias").pairs == (("ref", "digits:v11"), ("alias", "prod"))
    store.set_alias("digits:v6", "fresh")
    assert undo_of(store, "alias")[1:] == ("unalias", (("name", "digits"), ("alias", "fresh")))
    store.promote("digits:v7", "prod")
    assert undo_of(store, "promote")[1:] == ("rollback", (("name", "digits"), ("alias", "prod")))
    store.rename("other", "another")
    assert undo_of(store, "move")[1:] == ("rename", (("name", "another"), ("new", "other")))
    store.remove_artifact("another")
    assert undo_of(store, "remove")[1:] == ("restore", (("name", "another"),))
    assert undo_of(store, "move", "name=another") is None, "nothing is left to rename"
    assert undo_of(store, "version") is None


def test_an_older_move_of_an_alias_is_not_undone(store):
    store.set_alias("digits:v5", "prod")
    store.set_alias("digits:v6", "prod")
    moves = [each.undo for each in entries(store, "name=digits&kind=alias")]
    assert [undo and undo.label for undo in moves] == ["Back to v5", None, None]


def test_a_move_of_an_alias_that_is_protected_since_is_taken_back_by_a_promotion(store):
    store.set_alias("digits:v5", "prod")
    store.set_alias("digits:v6", "prod")
    store.set_alias("digits:v6", "gold")
    store.protect("prod")
    store.protect("gold")
    gold, prod, *_ = (each.undo for each in entries(store, "name=digits&kind=alias"))
    assert gold is None, "nothing takes a protected alias away"
    assert (prod.verb, dict(prod.pairs)) == ("promote", {"ref": "digits:v5", "alias": "prod"})


def test_a_strict_filter_stops_and_says_how_far_it_looked(store, monkeypatch):
    monkeypatch.setattr("kept.web.facts.log.entries._MOST_READ", 5)
    found = part(store, "kind=deletion")
    assert not found.days
    assert found.older
    assert found.looked_back_to


def test_a_wrong_moment_in_the_address_is_the_first_page(store):
    assert entries(store, "until=yesterday") == entries(store)
    assert entries(store, "until=2026-01-01") == entries(store), "without a time zone"


def test_the_page_is_a_value(store):
    page = log_page(Reader(store), Query.parse("name=digits"))
    assert page.title == "Log of digits"


def test_in_a_browser_it_filters_and_undoes(store, serve, page):
    store.delete("digits:v2")
    page.goto(serve(store.location).address + "log/")
    assert violations(page) == []
    page.get_by_label("What").select_option("deletion")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile(r"/log/\?kind=deletion$"))
    row = page.locator("table.log tbody tr")
    assert row.count() == 1
    assert "v2 deleted" in row.text_content()
    page.get_by_role("link", name="Undelete").click()
    page.get_by_role("button", name="Undelete").click()
    page.get_by_role("status").first.wait_for()
    assert "digits:v2" in store
    page.go_back()
    page.set_viewport_size(NARROW)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_a_page_that_is_open_gets_new_changes_and_names_stay_text(store, serve, page):
    page.goto(serve(store.location).address + "log/")
    store.version("digits:v0").update(note="<script>alert(1)</script>\u202e txt")
    page.get_by_text("<script>alert(1)</script>").wait_for()
    assert page.locator("script:not([src]):not([type])").count() == 0


def test_read_only_offers_no_undo(store, serve, page):
    store.delete("digits:v2")
    page.goto(serve(store.location, "--read-only").address + "log/")
    page.get_by_text("v2 deleted").wait_for()
    assert page.get_by_role("link", name="Undelete").count() == 0
