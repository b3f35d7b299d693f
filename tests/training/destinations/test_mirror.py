"""ModelCheckpoint with a mirror: training goes on, whatever becomes of the mirror."""

from __future__ import annotations

import numpy as np
import pytest

import kept
from kept.errors import InvalidInput
from kept.store.receipts import receipts
from kept.sync.mirror.replicate import Sync

pytestmark = pytest.mark.any_framework


def test_every_version_is_mirrored(model, data, s3, tmp_path):
    places = [s3, tmp_path / "second"]
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", name="m", mirror=places)
    model.fit(*data, epochs=3, verbose=0, callbacks=[checkpoint])
    expected = [(v.index, v.digest, v.aliases) for v in checkpoint.store.versions("m")]
    assert len(expected) == 3
    for place in places:
        mirrored = kept.open_store(place)
        assert [(v.index, v.digest, v.aliases) for v in mirrored.versions("m")] == expected
        assert mirrored.verify().problems == []
    assert {receipt.version for receipt in receipts(checkpoint.store.bucket)} == {2}
    restored = kept.open_store(s3)["m:latest"].load_model()
    for one, other in zip(restored.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_mirror_that_is_away_for_the_whole_run(model, data, s3, proxy, quick, capsys):
    proxy.fault = lambda *_: "away"
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", name="m", mirror=s3)
    model.fit(*data, epochs=3, verbose=0, callbacks=[checkpoint])
    told = capsys.readouterr().out
    assert told.count("failed; training continues") == 1
    assert "kept sync" in told
    assert len(checkpoint.versions) == 3
    proxy.fault = lambda *_: None
    Sync(checkpoint.store, kept.open_store(s3), "m").run()
    assert [v.index for v in kept.open_store(s3).versions("m")] == [0, 1, 2]


def test_the_next_run_copies_what_the_last_one_could_not(model, data, s3, proxy, quick):
    proxy.fault = lambda *_: "away"
    for epochs in (1, 2):
        checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", name=f"m{epochs}", mirror=s3)
        model.fit(*data, epochs=epochs, verbose=0, callbacks=[checkpoint])
        proxy.fault = lambda *_: None
    mirrored = kept.open_store(s3)
    assert [len(mirrored.versions(name)) for name in ("m1", "m2")] == [1, 2]


def test_a_mirror_that_cannot_be_one_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidInput, match="its own mirror"):
        kept.ModelCheckpoint("m.keras", store=tmp_path / "s", mirror=tmp_path / "s")
