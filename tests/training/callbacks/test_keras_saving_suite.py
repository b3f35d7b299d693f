"""Keras's own tests of saving, with every save of a model made by kept's callback."""

from __future__ import annotations

import os

import pytest
from keras.src.saving import saving_api, saving_lib
from keras.src.saving.saving_api_test import (  # noqa: F401
    LoadModelTests,
    LoadWeightsTests,
    SaveModelTests,
)
from keras.src.saving.saving_lib_test import (  # noqa: F401
    SavingAPITest,
    SavingBattleTest,
    SavingTest,
)

import kept
from kept.errors import SaveFailed

pytestmark = pytest.mark.integration

# The table in docs/howto.md has these.
DIFFERENT = {
    "test_save_unsupported_extension": "other words",
    "test_saving_api_errors": "other words",
    "test_save_model_exception_raised": "a save that fails leaves no file, not half of one",
}
LEFT_OUT = {
    "test_weights_sharding": "it saves no model, and is slow",
    "test_legacy_load_skips_missing_nested_containers": "the package lacks its file",
}


class Router:
    """Stands for a function of Keras that saves: plain calls of a test save with kept."""

    is_saving = False  # kept calls Keras's functions, too

    def __init__(self, original, *, weights_only):
        self.original, self.weights_only = original, weights_only

    def __call__(self, model, filepath, *args, **options):
        is_path = isinstance(filepath, (str, os.PathLike))
        if Router.is_saving or args or options.keys() - {"overwrite"} or not is_path:
            given = {name: value for name, value in options.items() if value is not None}
            return self.original(model, filepath, *args, **given)
        Router.is_saving = True
        try:
            self.save(model, filepath)
        except SaveFailed as failure:
            raise failure.__cause__ from None
        finally:
            Router.is_saving = False

    def save(self, model, filepath):
        callback = kept.ModelCheckpoint(filepath, save_weights_only=self.weights_only, name="m")
        callback.set_model(model)
        callback.on_epoch_end(0, {})
        callback.close()


@pytest.fixture(autouse=True)
def _saved_by_kept(monkeypatch, request):
    for name, reason in LEFT_OUT.items():
        if request.node.name.startswith(name):
            pytest.skip(reason)
    for name, reason in DIFFERENT.items():
        if request.node.name.startswith(name):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    Router.is_saving = False
    for module in (saving_api, saving_lib):
        monkeypatch.setattr(module, "save_model", Router(module.save_model, weights_only=False))
    weights = Router(saving_api.save_weights, weights_only=True)
    monkeypatch.setattr(saving_api, "save_weights", weights)
