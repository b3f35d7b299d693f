"""The strict reader of events: what it accepts, and what it refuses with a reason."""

import json

import pytest

import kept
from kept.errors import Damaged
from kept.store.encoding import seal, unseal, with_small_integers
from kept.store.log.events import check_event, follows, link_to
from kept.store.log.pages import PAGE

DIGEST = "0123456789abcdef" * 4
VERSION = {
    "event": "version", "number": 2, "index": 0, "type": "model", "manifest": DIGEST,
    "digest": DIGEST, "size": 1, "aliases": ["best", "epoch_1"], "metadata": {"loss": 0.5},
    "time": "2026-11-29T10:00:00.000000Z", "write_id": DIGEST[:32], "artifact": "m",
    "previous": {"blake3": DIGEST, "event": "alias", "aliases": {}},
}  # fmt: skip
WRONG = [
    None,
    True,
    1.5,
    -1,
    2**63,
    "",
    "x",
    "a b",
    "../x",
    "\n",
    [],
    [1],
    {},
    {"a": 1},
    DIGEST[1:],
]
MAY_BE = {  # values of WRONG that are right for some field
    "metadata": ({}, {"a": 1}),
    "aliases": ([],),
    "type": ("x", DIGEST[1:]),
    "write_id": ("", "x", "a b", "../x", "\n", DIGEST[1:]),
    "previous": (None,),
}


def test_a_usual_version_and_the_same_with_unknown_keys():
    check_event(VERSION, "m", 2)
    check_event(VERSION | {"by": "a newer kept"}, "m", 2)
    check_event({k: v for k, v in VERSION.items() if k not in ("artifact", "previous")}, "m", 2)


@pytest.mark.parametrize("field", VERSION)
def test_every_field_of_a_version_is_checked(field):
    with pytest.raises(ValueError, match=r"."):
        check_event(VERSION | {field: object()}, "m", 2) if field != "metadata" else check_event(
            VERSION | {field: 1}, "m", 2
        )
    for value in WRONG:
        event = VERSION | {field: value}
        if any(value is each or value == each for each in MAY_BE.get(field, ())):
            check_event(event, "m", 2)
            continue
        with pytest.raises(ValueError, match=r"."):
            check_event(event, "m", 2)
    if field not in ("artifact", "previous"):
        with pytest.raises(ValueError, match=field):
            check_event({k: v for k, v in VERSION.items() if k != field}, "m", 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "alias", "aliases": {"a": -1}},
        {"event": "alias", "aliases": {"a": True}},
        {"event": "alias", "aliases": {"a b": 0}},
        {"event": "alias", "aliases": []},
        {"event": "alias", "aliases": {}, "expires": None},
        {"event": "alias", "aliases": {}, "expires": "soon", "index": 0},
        {"event": "alias", "aliases": {}, "gc": 1},
        {"event": "alias", "aliases": {}, "lost": ["0"]},
        {"event": "alias", "aliases": {}, "replaces": "x"},
        {"event": "delete"},
        {"event": "delete", "index": "0"},
        {"event": "delete", "index": 0, "reason": 1},
        {"event": "undelete", "index": -1},
        {"event": "rename"},
        {"event": ["version"]},
    ],
)
def test_other_events_are_checked(wrong):
    stamp = {key: VERSION[key] for key in ("number", "time", "write_id")}
    with pytest.raises(ValueError, match=r"."):
        check_event(stamp | wrong, "m", 2)
    check_event(stamp | {"event": "delete", "index": 0, "reason": "last=3"}, "m", 2)


@pytest.mark.parametrize("time", ["2026-11-29", "2026-13-29T10:00:00Z", "2026-11-29T10:00:00"])
def test_times_have_a_zone(time):
    with pytest.raises(ValueError, match=r"."):
        check_event(VERSION | {"time": time}, "m", 2)


def test_the_chain():
    before = {k: v for k, v in VERSION.items() if k != "previous"} | {"number": 1}
    after = VERSION | {"previous": link_to(before)}
    assert follows(after, before)
    assert not follows(after, before | {"size": 2})
    assert not follows(after, None)
    assert follows(before | {"previous": None}, None)
    substitute = {"event": "alias", "aliases": {}, "replaces": after["previous"]["blake3"]}
    assert follows(after, substitute)
    assert "metadata" not in after["previous"]
    assert after["previous"]["aliases"] == ["best", "epoch_1"]


def test_integers_of_more_than_64_bits_stay_integers_in_a_page(store, file):
    big = 2**70 + 1
    for n in range(PAGE):
        store.log_artifact("m", file(str(n).encode()), metadata={"n": n, "big": big if n else 0})
    fresh = kept.Store(store.bucket)
    assert fresh.log("m").view().paged == PAGE
    assert {v.metadata["big"] for v in fresh.versions("m")} == {0, big}
    marked = with_small_integers({"events": [1]})
    assert marked == {"events": [1], "small_integers": True}
    assert unseal(seal(marked), "") == marked


@pytest.mark.parametrize("text", ["[NaN]", '["\\ud800"]', "[1e999]", '{"a":1'])
def test_what_is_not_json_is_damage(text):
    from kept.digest import digest

    def sealed(body):
        return f'{{"blake3":"{digest(body.encode())}","value":{body}}}'.encode()

    for body in (text, f'{{"events":{text},"small_integers":true}}'):
        if text == "[1e999]" and body == text:
            assert json.loads(body) == [float("inf")]  # the seal of an event refuses it
            continue
        with pytest.raises(Damaged):
            unseal(sealed(body), "key")


def test_a_line_break_moves_no_fact_into_another_field():
    forged = VERSION | {"type": f"model\n{DIGEST}", "previous": {"blake3": "epoch_1"}}
    for event in (forged, VERSION | {"aliases": ["a\nb"]}):
        with pytest.raises(ValueError, match=r"."):
            check_event(event, "m", 2)
