"""kept's callbacks as subclasses of Keras 3's, for where `kept.ModelCheckpoint` is tf_keras's."""

from kept.training.callbacks.model_checkpoint import ModelCheckpoint
from kept.training.callbacks.wandb_model_checkpoint import WandbModelCheckpoint

__all__ = ["ModelCheckpoint", "WandbModelCheckpoint"]
