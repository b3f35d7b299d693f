"""kept's callbacks as subclasses of tf_keras's, for where `kept.ModelCheckpoint` is Keras 3's."""

from kept.training.callbacks.tf_model_checkpoint import ModelCheckpoint
from kept.training.callbacks.tf_wandb_model_checkpoint import WandbModelCheckpoint

__all__ = ["ModelCheckpoint", "WandbModelCheckpoint"]
