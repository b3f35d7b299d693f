"""Epochs and metrics in the names of files."""

from __future__ import annotations

import math

import pytest

from kept.errors import InvalidInput
from kept.exchange.importing.guess import Pattern, first_epoch, guess

# The forms that people use, with the stems of two files, and what the second one says.
FORMS = [
    (["weights.01-1.22", "weights.02-0.31"], (2, None, {}, [0.31])),
    (["weights-improvement-09-0.4321", "weights-improvement-10-0.4"], (10, None, {}, [0.4])),
    (["cp-0004", "cp-0005"], (5, None, {}, [])),
    (["ckpt-11", "ckpt-12"], (12, None, {}, [])),
    (["model_9", "model_10"], (10, None, {}, [])),
    (["model_epoch=09_val_acc=0.8", "model_epoch=12_val_acc=0.93"],
     (12, None, {"val_acc": 0.93}, [])),
    (["epoch=2-step=800", "epoch=3-step=1200-val_loss=0.31-v1"], (3, 1200, {"val_loss": 0.31}, [])),
    (["ep003-loss12.3-val_loss13", "ep006-loss9.5-val_loss10.25"],
     (6, None, {"loss": 9.5, "val_loss": 10.25}, [])),
    (["vgg16-ckpt-001-0.98", "vgg16-ckpt-002-0.99"], (2, None, {}, [0.99])),
    (["resnet50_epoch11_val_acc0.9", "resnet50_epoch12_val_acc0.93"],
     (12, None, {"val_acc": 0.93}, [])),
    (["run_3_model_12", "run_3_model_13"], (13, None, {}, [])),
    (["model-20240101-120000-04", "model-20240102-130000-05"], (5, None, {}, [])),
    (["model.05.0.31", "model.06.0.29"], (6, None, {}, [0.29])),
    (["net_top5_acc-0.8-e1", "net_top5_acc-0.9-e2"], (2, None, {"top5_acc": 0.9}, [])),
    (["e1_f1_0.5", "e2_f1_0.93"], (2, None, {"f1": 0.93}, [])),
    (["w.01-0.5", "w.02--0.25"], (2, None, {}, [-0.25])),
    (["m_epoch_1_loss_3.2e-05", "m_epoch_2_loss_1e-05"], (2, None, {"loss": 1e-05}, [])),
    (["global_step_50", "global_step_100"], (None, 100, {}, [])),
    (["model07", "model08"], (8, None, {}, [])),
    (["vgg16_a", "vgg16_b"], (None, None, {}, [])),
    (["vgg16_m01", "vgg16_m02"], (2, None, {}, [])),
    (["best_model", "final_model_v2"], (None, None, {}, [])),
    (["3_epoch_5_val-loss_0.43", "3_epoch_6_val-loss_0.41"], (6, None, {"val_loss": 0.41}, [])),
    (["Epoch 3 - val acc 0.93", "Epoch 4 - val acc 0.94"], (4, None, {"val_acc": 0.94}, [])),
    (["e_1_f1-score_0.8", "e_2_f1-score_0.9"], (2, None, {"f1_score": 0.9}, [])),
    (["net_val_dice_coef_0.8_e1", "net_val_dice_coef_0.9_e2"],
     (2, None, {"val_dice_coef": 0.9}, [])),
    (["gpt2_20260131-1200_03-0.31", "gpt2_20260131-1200_04-0.3"], (4, None, {}, [0.3])),
    (["2026-01-31T12:00:00_03", "2026-01-31T12:00:00_04"], (4, None, {}, [])),
    (["model_fold_1", "model_fold_2"], (None, None, {}, [])),
    (["model_fold1", "model_fold2"], (None, None, {}, [])),
    (["seed42-03", "seed43-04"], (4, None, {}, [])),
    (["model_v1", "model_v2"], (None, None, {}, [])),
    (["weights_stage_1", "weights_stage_2"], (None, None, {}, [])),
    (["fold_1_epoch_02-loss0.3", "fold_2_epoch_03-loss0.2"], (3, None, {"loss": 0.2}, [])),
]  # fmt: skip


@pytest.mark.parametrize(("stems", "expected"), FORMS, ids=[stems[1] for stems, _ in FORMS])
def test_the_usual_forms_are_read(stems, expected):
    named = guess(stems)[stems[1]]
    assert (named.epoch, named.step, named.metrics, named.unnamed) == expected


def test_a_value_can_be_nan():
    named = guess(["weights.03-nan"])["weights.03-nan"]
    assert named.epoch == 3
    assert math.isnan(named.unnamed[0])


PATTERNS = [
    ("weights.{epoch:02d}-{val_loss:.2f}.keras", "weights.07-0.31.keras", 7, {"val_loss": 0.31}),
    ("w{epoch}-{val_loss:.2f}.h5", "w7--1.50.h5", 7, {"val_loss": -1.5}),
    ("{epoch:03d}/model.{val_acc:.3f}.keras", "012/model.0.930.keras", 12, {"val_acc": 0.93}),
    ("{epoch:5d}-{loss:.1e}.keras", "   12-3.0e-04.keras", 12, {"loss": 0.0003}),
    ("{epoch}/{epoch}.keras", "4/4.keras", 4, {}),
    ("{epoch}-{my metric:.1f}.keras", "4-nan.keras", 4, {"my metric": math.nan}),
]


@pytest.mark.parametrize(("pattern", "path", "epoch", "metrics"), PATTERNS)
def test_the_filepath_of_a_run_reads_its_files(pattern, path, epoch, metrics):
    named = Pattern(pattern).read(path)
    assert named.epoch == epoch
    assert named.metrics == pytest.approx(metrics, nan_ok=True)


def test_what_keras_fills_in_is_read_back():
    pattern = "w.{epoch:02d}-{batch:04d}-{val_loss:.4f}.keras"
    path = pattern.format(epoch=3, batch=20, val_loss=0.123456)
    named = Pattern(pattern).read(path)
    assert (named.epoch, named.step, named.metrics) == (3, 20, {"val_loss": 0.1235})


@pytest.mark.parametrize(
    "path", ["other.keras", "weights.x-0.31.keras", "weights.01-0.31.keras.tmp"]
)
def test_other_files_do_not_match(path):
    assert Pattern("weights.{epoch:02d}-{val_loss:.2f}.keras").read(path) is None


@pytest.mark.parametrize("pattern", ["plain.keras", "{epoch", "{}.keras", "{a.b}.keras"])
def test_a_bad_pattern_is_refused(pattern):
    with pytest.raises(InvalidInput, match="Received"):
        Pattern(pattern)


def test_epochs_count_from_1_unless_a_name_has_0():
    assert first_epoch([1, 2, None], None) == 1
    assert first_epoch([0, 1], None) == 0
    assert first_epoch([3, 4], 0) == 0
