"""kept's callbacks for tf_keras, also if `kept.ModelCheckpoint` is the callback for Keras 3."""

from kept.training.callbacks.tf_model_checkpoint import ModelCheckpoint
from kept.training.callbacks.tf_wandb_model_checkpoint import WandbModelCheckpoint

__all__ = ["ModelCheckpoint", "WandbModelCheckpoint"]
