"""With a required key, models and runs come from signed versions only."""

import numpy as np
import pytest

import kept
from kept.errors import NotSigned

pytest.importorskip("model_signing")
pytestmark = pytest.mark.any_framework


@pytest.fixture
def key(tmp_path):
    """The path of a private key; the public one is beside it."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    private = tmp_path / "key.pem"
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    private.write_bytes(key.private_bytes(*form))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private.with_suffix(".pub").write_bytes(public)
    return private


@pytest.fixture
def strict(store, key, own_model, data):
    """The store with a required key: m:v0 is signed, m:v1 is not."""
    own_model.fit(*data, epochs=2, verbose=0, callbacks=[callback(store)])
    store["m:v0"].sign(key)
    return kept.open_store(store.location, require_signed=key.with_suffix(".pub"))


def callback(store, **options):
    return kept.ModelCheckpoint(
        "c.keras", name="m", store=store, save_freq="epoch", monitor="loss", **options
    )


def test_models_and_weights(strict, own_model, data):
    loaded = strict["m:v0"].load_model()
    strict["m:v0"].load_weights(own_model)
    x = data[0]
    np.testing.assert_array_equal(own_model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    before = own_model.get_weights()
    with pytest.raises(NotSigned, match="m:v1 has no valid signature"):
        strict["m:v1"].load_model()
    with pytest.raises(NotSigned, match="m:v1 has no valid signature"):
        strict["m:v1"].load_weights(own_model)
    for one, other in zip(before, own_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_run_resumes_from_a_signed_version_only(strict, key, own_model, data, how, monkeypatch):
    """An unsigned newest version is an error: an older one in its place would undo work."""
    store = strict
    if how == "variable":
        monkeypatch.setenv("KEPT_REQUIRE_SIGNED", str(key.with_suffix(".pub")))
        store = strict.location
    with pytest.raises(NotSigned, match="m:v1 has no valid signature"):
        own_model.fit(*data, epochs=3, verbose=0, callbacks=[callback(store, resume=True)])
    strict["m:v1"].sign(key)
    own_model.fit(*data, epochs=3, verbose=0, callbacks=[callback(store, resume=True)])
    assert strict.version("m").metadata["epoch"] == 2
    with pytest.raises(NotSigned, match="m:v2 has no valid signature"):
        own_model.fit(
            *data, epochs=4, verbose=0, callbacks=[kept.resume(own_model, "m", store=store)]
        )
