"""What all pages share: the frame, keys, the theme, and who may use them."""

import http.client
from urllib.parse import urlsplit

import pytest

from tests.web.conftest import NARROW, violations


def answer(address, method="GET", path="/", **headers):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def test_the_first_page_has_the_artifacts_and_no_violation(store, serve, page):
    page.goto(serve(store.location).address)
    assert page.get_by_role("link", name="digits").is_visible()
    assert violations(page) == []
    page.set_viewport_size(NARROW)
    assert violations(page) == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= NARROW["width"], "the page itself does not scroll sideways"


def test_the_theme_is_switched_and_remembered(store, serve, page):
    page.goto(serve(store.location).address)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert violations(page) == []
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_keys_search_and_explain(store, serve, page):
    page.goto(serve(store.location).address)
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("dig")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=dig")
    assert page.get_by_role("link", name="other").count() == 0


def test_another_site_changes_nothing_and_no_other_name_reaches_the_page(store, serve):
    address = serve(store.location).address
    refused, _ = answer(address, "POST", **{"Sec-Fetch-Site": "cross-site"})
    no_origin, _ = answer(address, "POST")
    elsewhere, _ = answer(address, "POST", Origin="http://attacker.example")
    assert {refused.status, no_origin.status, elsewhere.status} == {403}
    rebound, _ = answer(address, Host="attacker.example")
    assert rebound.status == 400


def test_every_answer_has_the_policy(store, serve):
    address = serve(store.location).address
    for path in ("/", "/static/kept.css", "/artifacts/no-such/"):
        found, _ = answer(address, path=path)
        policy = found.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert found.headers["X-Content-Type-Options"] == "nosniff"


def test_the_token_is_asked_for_and_moves_into_a_cookie(store, serve, page):
    address = serve(store.location, "--token", "secret word").address
    closed, _ = answer(address)
    assert closed.status == 401
    wrong, _ = answer(address, path="/?token=wrong")
    assert wrong.status == 401
    page.goto(address)
    assert "token" not in page.url
    assert page.get_by_role("link", name="digits").is_visible()


def test_another_host_gets_a_token_unasked(store, serve):
    address = serve(store.location, "--host", "0.0.0.0").address
    assert "?token=" in address
    closed, _ = answer(address.replace("0.0.0.0", "127.0.0.1"))
    assert closed.status == 401


def test_read_only_refuses_what_changes_the_store(store, serve):
    address = serve(store.location, "--read-only").address
    origin = address.rstrip("/")
    refused, text = answer(address, "POST", Origin=origin)
    assert refused.status == 403
    assert "--read-only" in text


@pytest.mark.parametrize("path", ["/nothing", "/artifacts/missing/"])
def test_an_unknown_address_has_a_page(store, serve, page, path):
    page.goto(serve(store.location).address.rstrip("/") + path)
    assert page.get_by_role("heading", name="Not found").is_visible()
    assert violations(page) == []
