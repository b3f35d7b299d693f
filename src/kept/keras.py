"""kept's callbacks for Keras 3, also if `kept.ModelCheckpoint` is the callback for tf_keras."""

from kept.training.callbacks.model_checkpoint import ModelCheckpoint
from kept.training.callbacks.wandb_model_checkpoint import WandbModelCheckpoint

__all__ = ["ModelCheckpoint", "WandbModelCheckpoint"]
