"""Each action: its page says what will happen, its button does it, and a link takes it back."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest

import kept
from kept.errors import NotFound
from kept.store.origin.actor import actor
from kept.web.query import Query
from kept.web.verbs.all_verbs import VERBS
from kept.web.verbs.versions import Delete
from tests.web.conftest import NARROW, make_series, violations
from tests.web.test_frame import answer


def shows(page, server, path):
    """Open the page of an action; nothing changes by that."""
    page.set_default_timeout(10_000)
    page.goto(server.address + "actions/" + path)
    return page.locator("main").inner_text()


def confirm(page, button):
    page.get_by_role("button", name=button).click()
    return page.locator("#done").inner_text()


def undo(page, button):
    page.get_by_role("link", name="Undo").click()
    return confirm(page, button)


def numbers(store, name="digits"):
    return [version.index for version in store.versions(name)]


@pytest.fixture
def server(store, serve):
    return serve(store.location)


def test_delete_says_what_is_lost_and_undo_brings_it_back(store, server, page):
    text = shows(page, server, "delete?ref=digits:v11&ref=digits:v3&ref=digits:v4")
    assert "no version then: prod" in text
    assert "latest then names the newest version that is left" in text
    assert re.search(r"after \d{4}-\d\d-\d\d .* frees [\d.]+ kB", text)
    assert numbers(store) == list(range(12)), "a look changes nothing"
    assert violations(page) == []
    assert "Deleted 3 versions of digits" in confirm(page, "Delete 3 versions, free")
    assert page.url.endswith("/artifacts/digits/")
    assert "versions=" not in page.url, "the note is no part of the address"
    assert numbers(store) == [0, 1, 2, 5, 6, 7, 8, 9, 10]
    undo(page, "Undelete 3 versions")
    assert numbers(store) == list(range(12))
    assert store.version("digits:prod").index == 11


def test_the_bytes_that_a_deletion_frees_are_those_that_gc_then_frees(store, server, page):
    text = shows(page, server, "delete?name=digits&versions=2-9")
    promised = re.search(r"free ([\d.]+ [kM]B), undo", text)[1]
    confirm(page, "Delete 8 versions")
    page.goto(server.address + "actions/gc?grace=0s")
    assert promised in page.get_by_role("button", name="for good").inner_text()


def test_a_note_appears_once(store, server, page):
    shows(page, server, "delete?ref=digits:v1")
    confirm(page, "Delete 1 version")
    page.reload()
    assert page.locator("#done").count() == 0


def test_undelete_says_that_nothing_is_deleted(store, server, page):
    assert "None of these versions is deleted" in shows(page, server, "undelete?ref=digits:v1")
    assert page.locator("button[name=plan]").count() == 0


def test_a_version_is_gone_after_gc_and_the_page_says_so(store, server, page):
    store.delete("digits:v5")
    shows(page, server, "undelete?ref=digits:v5")
    store.gc(grace="0s")
    page.get_by_role("button", name="Undelete digits:v5").click()
    assert "gc has removed its content" in page.get_by_role("alert").inner_text()


def test_a_ttl_is_set_and_taken_back(store, server, page):
    shows(page, server, "ttl?ref=digits:v1")
    page.get_by_label("Expires after").fill("7d")
    page.get_by_role("button", name="Show what happens").click()
    confirm(page, "Expire digits:v1 in 7d")
    assert store.version("digits:v1").record.expires is not None
    undo(page, "Keep digits:v1")
    assert store.version("digits:v1").record.expires is None


def test_an_alias_moves_and_moves_back(store, server, page):
    shows(page, server, "alias?ref=digits:v2")
    page.get_by_label("Alias").fill("prod")
    page.keyboard.press("Enter")
    page.wait_for_selector("button[name=plan]")
    assert "taken from digits:v11 and put on digits:v2" in page.locator("main").inner_text()
    assert store.version("digits:prod").index == 11
    assert violations(page) == []
    confirm(page, "Move prod from v11 to v2")
    assert store.version("digits:prod").index == 2
    undo(page, "Move prod from v2 to v11")
    assert store.version("digits:prod").index == 11


def test_an_alias_is_removed_and_put_back(store, server, page):
    shows(page, server, "unalias?name=digits&alias=prod")
    confirm(page, "Remove prod from v11")
    with pytest.raises(NotFound):
        store.version("digits:prod")
    undo(page, "Put prod on v11")
    assert store.version("digits:prod").index == 11


def test_a_promotion_checks_its_condition_and_logs_its_message(store, server, page):
    shows(page, server, "promote?ref=digits:v5&alias=prod&condition=accuracy+>+0.99")
    assert "does not fulfil" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Only if").input_value() == "accuracy > 0.99", "it stays as typed"
    page.get_by_label("Only if").fill("accuracy > 0.5")
    page.get_by_label("Message").fill("for <the> release")
    page.get_by_role("button", name="Show").click()
    page.wait_for_selector("button[name=plan]")
    confirm(page, "Move prod from v11 to v5")
    change = next(store.history("digits"))
    assert change.action == "promote"
    assert change.details["message"] == "for <the> release"
    undo(page, "Move prod from v5 to v11")
    assert next(store.history("digits")).action == "rollback"


def test_a_protected_alias_is_refused_by_alias_delete_and_remove(store, server, page):
    shows(page, server, "protect")
    page.get_by_label("Alias").fill("prod")
    page.get_by_role("button", name="Show what happens").click()
    confirm(page, "Protect prod in all artifacts")
    assert store.protected() == ["prod"]
    for path in ("alias?ref=digits:v1&alias=prod", "delete?ref=digits:v11", "remove?name=digits",
                 "unalias?name=digits&alias=prod"):  # fmt: skip
        shows(page, server, path)
        assert "protected" in page.get_by_role("alert").inner_text()
        assert page.locator("button[name=plan]").count() == 0
    shows(page, server, "unprotect?alias=prod")
    confirm(page, "End the protection of prod")
    assert store.protected() == []


def test_tags_notes_and_the_description(store, server, page):
    shows(page, server, "tag?ref=digits:v1")
    page.get_by_label("Add").fill("good, to show")
    confirm(page, "Change the tags of digits:v1")
    assert store.version("digits:v1").tags == ("good", "to show")
    undo(page, "Change the tags")
    assert store.version("digits:v1").tags == ()
    shows(page, server, "note?ref=digits:v1")
    page.get_by_label("Note").fill("looks\nfine")
    confirm(page, "Add the note")
    assert [note.text for note in store.version("digits:v1").notes] == ["looks\nfine"]
    shows(page, server, "describe?ref=digits:v1")
    page.get_by_label("Description").fill("the first")
    confirm(page, "Set the description")
    assert store.version("digits:v1").description == "the first"
    undo(page, "Set the description")
    assert store.version("digits:v1").description is None


def test_an_error_keeps_what_was_typed(store, server, page):
    shows(page, server, "tag?ref=digits:v1")
    page.get_by_label("Add").fill("x" * 10_000)
    page.get_by_role("button", name="Change the tags").click()
    assert "printable characters" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Add").input_value() == "x" * 10_000
    assert violations(page) == []


def test_a_metric_is_logged(store, server, page):
    shows(page, server, "metric?ref=digits:v1&metric=test_acc&value=none")
    assert "A metric is a number" in page.get_by_role("alert").inner_text()
    page.get_by_label("Value").fill("0.5")
    page.get_by_role("button", name="Show").click()
    confirm(page, "Log 0.5 for digits:v1")
    assert store.version("digits:v1").metrics == {"test_acc": 0.5}


def test_an_artifact_is_removed_and_restored(store, server, page):
    assert "These aliases go with them: prod" in shows(page, server, "remove?name=digits")
    assert "Removed digits with 12 versions" in confirm(page, "Remove digits with 12 versions")
    assert "digits" not in store
    undo(page, "Restore digits with 12 versions")
    assert store.version("digits:prod").index == 11


def test_an_artifact_is_renamed_and_renamed_back(store, server, page):
    shows(page, server, "rename?name=digits&new=other")
    assert "has versions of its own" in page.get_by_role("alert").inner_text()
    page.get_by_label("New name").fill("figures")
    page.get_by_role("button", name="Show").click()
    confirm(page, "Rename digits to figures")
    assert numbers(store, "figures") == list(range(12))
    undo(page, "Rename figures to digits")
    assert "figures" not in store


def test_a_version_is_copied_and_the_copy_deleted(store, server, page):
    shows(page, server, "copy?ref=digits:v7&name=fresh")
    confirm(page, "Copy digits:v7 to fresh")
    assert store.version("fresh:v0").digest == store.version("digits:v7").digest
    undo(page, "Delete 1 version, undo until gc")
    assert "fresh" not in store


def test_best_follows_a_metric_until_that_is_undone(store, server, page):
    shows(page, server, "best?name=digits")
    page.get_by_label("Metric").fill("accuracy")
    page.get_by_label("Better is").select_option("lower")
    page.get_by_role("button", name="Show what happens").click()
    confirm(page, "Let accuracy decide best: v0")
    assert store.version("digits:best").index == 0
    undo(page, "Let the callbacks decide best")
    assert store.artifact("digits").best_rule is None


def test_a_deletion_says_where_a_rule_moves_best(store, server, page):
    store.artifact("digits").set_best("val_loss", "min")
    text = shows(page, server, "delete?ref=digits:v11")
    assert "best is on digits:v10 then: val_loss (min) decides it." in text
    assert "The alias is on no version then: prod." in text, "a rule moves best, and nothing prod"
    confirm(page, "Delete 1 version")
    assert store.version("digits:best").index == 10


def test_a_first_promotion_to_a_protected_alias_offers_no_undo_that_is_refused(store):
    store.protect("gold")
    query = Query(parse_qsl("ref=digits:v3&alias=gold"))
    promote = VERBS["promote"]
    assert promote.do(store, promote.plan(store, query)).undo is None
    query = Query(parse_qsl("ref=digits:v4&alias=gold"))
    assert promote.do(store, promote.plan(store, query)).undo.verb == "rollback"


def test_a_rename_that_is_refused_has_no_button(store, server, page):
    store.protect("prod")
    shows(page, server, "rename?name=digits&new=figures")
    assert "the alias prod is protected" in page.get_by_role("alert").inner_text()
    assert page.locator("button[name=plan]").count() == 0


def test_verify_of_a_removed_artifact_does_not_read_the_store(store):
    store.remove_artifact("other", force=True)
    with pytest.raises(NotFound, match="other is removed"):
        VERBS["verify"].plan(store, Query(parse_qsl("name=other")))


def test_the_progress_of_a_verified_artifact_never_goes_back(store):
    shares = []
    plan = VERBS["verify"].plan(store, Query(parse_qsl("name=digits")))
    VERBS["verify"].work(store, plan, lambda done, total: shares.append(done / total))
    assert shares == sorted(shares)
    assert (shares[-1], len(set(shares)) > 10) == (1, True)


def test_prune_deletes_what_its_page_lists(store, server, page):
    shows(page, server, "prune?name=digits")
    assert page.locator("button[name=plan]").count() == 0
    page.get_by_label("Keep the last").fill("3")
    page.get_by_label("Keep the best").fill("4")
    page.get_by_role("button", name="Show what happens").click()
    page.wait_for_selector("button[name=plan]")
    listed = page.locator("tbody th").all_inner_texts()
    assert numbers(store) == list(range(12))
    confirm(page, "Delete 8 versions, free")
    assert listed == [version.reference for version in store.deleted("digits")]
    undo(page, "Undelete 8 versions")
    assert numbers(store) == list(range(12))


def test_verify_runs_as_a_job_and_reports_damage(store, server, page):
    blob = max(Path(store.location, "blobs").rglob("*"), key=lambda p: p.stat().st_size)
    shows(page, server, "verify?name=digits")
    page.get_by_role("button", name="Verify digits").click()
    page.get_by_text("no damage").wait_for()
    assert "/jobs/1/" in page.url
    assert violations(page) == []
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    shows(page, server, "verify")
    page.get_by_role("button", name="Verify the whole store").click()
    page.get_by_text(re.compile(r"\d+ problems?")).wait_for()


def test_gc_frees_what_its_page_says(store, server, page):
    store.delete("digits:v5")
    shows(page, server, "gc?grace=0s")
    name = page.locator("button[name=plan]").inner_text()
    promised = re.search(r"Free (.*) for good", name)[1]
    page.locator("button[name=plan]").click()
    page.get_by_text(f"Freed {promised}").wait_for()
    with pytest.raises(NotFound):
        store.undelete("digits:v5")


def test_a_changed_store_shows_the_new_plan_instead(store, server, page):
    shows(page, server, "prune?name=digits&last=1")
    store.set_alias("digits:v4", "mine")
    page.locator("button[name=plan]").click()
    assert "Nothing was done yet" in page.get_by_role("alert").inner_text()
    assert numbers(store) == list(range(12))
    confirm(page, "Delete 10 versions")
    assert numbers(store) == [4, 11]


def test_the_way_back_is_the_page_one_came_from(store, server, page):
    page.goto(server.address + "?q=dig")
    page.evaluate("""() => {
        const link = document.createElement("a");
        link.href = "actions/delete?ref=digits:v1"; link.textContent = "Delete it";
        document.querySelector("main").append(link);
    }""")
    page.get_by_text("Delete it").click()
    confirm(page, "Delete 1 version")
    assert page.url.endswith("/?q=dig")


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "artifacts/../../x",
                                  "javascript:alert(1)", "\\\\evil.example", "artifacts//evil",
                                  "log/?x=1\r\nSet-Cookie: a=b"])  # fmt: skip
def test_a_wrong_way_back_is_not_taken(store, server, page, back):
    shows(page, server, "delete?" + urlencode({"ref": "digits:v1", "back": back}))
    confirm(page, "Delete 1 version")
    assert page.url == server.address + "artifacts/digits/"


def form_of(page):
    """Return the pairs that the page would post."""
    return page.evaluate("""() => {
        const button = document.querySelector("button[name=plan]");
        return new URLSearchParams(new FormData(document.querySelector("form.action"), button)) + ""
    }""")


def test_a_form_that_is_sent_twice_at_once_acts_once(store, server, page):
    shows(page, server, "note?ref=digits:v1")
    page.get_by_label("Note").fill("once")
    body = form_of(page)
    answers = page.evaluate(
        """async (body) => {
        const send = () => fetch("note", {method: "POST", body, redirect: "manual",
            headers: {"Content-Type": "application/x-www-form-urlencoded"}});
        const found = await Promise.all([send(), send(), send()]);
        return found.map((answer) => answer.type);
    }""",
        body,
    )
    assert answers == ["opaqueredirect"] * 3, "each click gets the answer"
    assert len(store.version("digits:v1").notes) == 1


def test_the_actor_is_that_of_the_command(store, server, page):
    shows(page, server, "delete?ref=digits:v1")
    confirm(page, "Delete 1 version")
    assert next(store.history("digits")).by == actor()


def test_read_only_shows_what_would_happen_without_a_button(store, serve, page):
    server = serve(store.location, "--read-only")
    for path in ("delete?ref=digits:v1", "note?ref=digits:v1", "prune?name=digits&last=1", "gc"):
        text = shows(page, server, path)
        assert page.locator("main button").count() == 0, text
        assert violations(page) == []


def test_every_verb_has_a_page_on_a_narrow_screen(store, server, page):
    page.set_viewport_size(NARROW)
    for name in VERBS:
        shows(page, server, f"{name}?ref=digits:v11&name=digits&alias=prod&new=n&last=1&ttl=7d")
        assert page.get_by_role("heading", level=1).count() == 1
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= NARROW["width"], name
    assert violations(page) == []
    assert numbers(store) == list(range(12)), "GET changes nothing"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_look_at_nonsense_is_an_error_and_no_crash(store, server, verb):
    for query in ("", "ref=", "ref=digits", "ref=..%2F..%2Fx:v1", "name=%00", "ref=digits:v999",
                  "name=missing&alias=latest", "name=digits&versions=0-999999999,x",
                  "name=digits&last=-1&best=x&every=%F0%9F%98%80", "ref=digits:v1&ttl=-5d",
                  "ref=digits:v1&alias=%3Cscript%3E", "grace=nonsense", "name=digits&new=../x",
                  "ref=digits:v1&alias=x&condition=((((", "ref=digits:v1&name=../x"):  # fmt: skip
        found, text = answer(server.address, path=f"/actions/{verb}?{query}")
        assert found.status < 500, (query, text)
    assert numbers(store) == list(range(12))


def test_deletion_reports_how_far_it_came(tmp_path):
    store = kept.open_store(tmp_path / "s")
    make_series(store, "digits", 4)
    query = Query(parse_qsl("name=digits&versions=0-2"))
    plan = Delete().plan(store, query)
    store.set_alias("digits:v1", "mine")
    done = Delete().do(store, plan)
    assert done.is_partial
    assert "Deleted 1 of 3 versions" in done.text
    assert numbers(store) == [1, 2, 3]
