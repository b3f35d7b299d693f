"""Who may use the page, and what other sites, names and oversized requests reach."""

import http.client
import socket
from urllib.parse import urlencode, urlsplit

import pytest

from kept.errors import InvalidInput
from kept.web.serve import Place, Site
from tests.web.test_frame import answer

FORM = "application/x-www-form-urlencoded"


def post(address, path, body="", **headers):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, body, {"Content-Type": FORM} | names)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


@pytest.mark.parametrize(
    "headers",
    [
        {},  # an old browser, or a program
        {"Origin": "null"},  # a sandboxed frame, or a file
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://localhost:1"},  # another server of this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_no_other_site_deletes_a_version(store, serve, headers):
    address = serve(store.location).address
    body = urlencode({"ref": "digits:v1", "plan": "0" * 32})
    status, _ = post(address, "/actions/delete", body, **headers)
    assert status == 403
    assert "digits:v1" in store


def test_a_form_without_the_plan_shows_the_plan(store, serve):
    address = serve(store.location).address
    body = urlencode({"ref": "digits:v1"})
    status, text = post(address, "/actions/delete", body, Origin=address.rstrip("/"))
    assert status == 409
    assert "Delete 1 version" in text
    assert "digits:v1" in store


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
def test_only_post_changes_the_store(store, serve, method):
    address = serve(store.location).address
    found, _ = answer(address, method, "/actions/delete?ref=digits:v1", Origin=address.rstrip("/"))
    assert found.status < 500
    assert "digits:v1" in store


def test_another_name_for_this_machine_reaches_nothing(store, serve):
    address = serve(store.location).address
    port = urlsplit(address).port
    for host in ("attacker.example", f"attacker.example:{port}", "localhost.evil", ""):
        assert answer(address, Host=host)[0].status == 400, host


def test_large_and_strange_forms_are_refused(store, serve):
    address = serve(store.location).address
    own = {"Origin": address.rstrip("/")}
    large = "text=" + "x" * 5_000_000
    assert post(address, "/actions/note?ref=digits:v1", large, **own)[0] == 413
    many = "&".join(["ref=digits:v1"] * 3000)
    assert post(address, "/actions/delete", many, **own)[0] == 413
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
        status, _ = post(address, "/actions/delete", "ref=digits:v1", Content_Type=kind, **own)
        assert status == 415
    status, _ = post(address, "/actions/delete", "\0\xff=%zz&&&==&ref=%ff", **own)
    assert status in (400, 404)
    assert len(store.versions("digits")) == 12


def test_the_form_of_another_machine_is_taken_without_sec_fetch(store, serve, page):
    """Over http, browsers say only in Origin that a form is of this page."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        machine = probe.getsockname()[0]
    if machine.startswith("127."):
        pytest.skip("this machine has no other address")
    server = serve(store.location, "--host", machine, "--token", "secret")
    sent = []
    page.on("request", lambda request: sent.append(request.all_headers()))
    page.goto(server.address)
    page.goto(server.address.partition("?")[0] + "actions/delete?ref=digits:v1")
    page.locator("button[name=plan]").click()
    page.locator("#done").wait_for()
    assert "digits:v1" not in store
    assert not any("sec-fetch-site" in headers for headers in sent), "else this tests nothing"


def test_the_tokens_of_two_servers_do_not_disturb_each_other(store, serve, page):
    first = serve(store.location, "--token", "one").address
    second = serve(store.location, "--token", "two").address
    page.goto(first)
    page.goto(second)
    page.goto(first.partition("?")[0])
    assert page.get_by_role("link", name="digits").first.is_visible()


@pytest.mark.parametrize("token", ["", "  ", "pässword", "日本", "a\nb"])
def test_a_token_that_protects_nothing_is_refused(store, token):
    with pytest.raises(InvalidInput, match="A token has at least one character"):
        Site(store, Place(port=0, token=token))


def test_an_action_needs_the_token(store, serve):
    address = serve(store.location, "--token", "secret").address.partition("?")[0]
    own = {"Origin": address.rstrip("/")}
    status, _ = post(address, "/actions/delete", "ref=digits:v1", **own)
    assert status == 401
    status, _ = post(address, "/actions/delete?token=secret", "ref=digits:v1", **own)
    assert status == 401, "the token in an address is for looking only"


def test_read_only_refuses_each_action(store, serve):
    address = serve(store.location, "--read-only").address
    for verb in ("delete", "gc", "verify", "nothing"):
        status, text = post(address, f"/actions/{verb}", "", Origin=address.rstrip("/"))
        assert status == 403
        assert "--read-only" in text


def test_the_note_is_a_cookie_that_no_script_reads(store, serve, page):
    server = serve(store.location)
    page.goto(server.address + "actions/delete?ref=digits:v1")
    page.locator("button[name=plan]").click()
    page.locator("#done").wait_for()
    [cookie] = [c for c in page.context.cookies() if c["name"] == "kept-note"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert "digits" not in cookie["value"]


def test_the_page_of_ipv6_answers(store, serve):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert answer(serve(store.location, "--host", "::1").address)[0].status == 200
