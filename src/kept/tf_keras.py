"""kept's callbacks as subclasses of tf_keras's, for where `kept.ModelCheckpoint` is Keras 3's."""

from kept.training.tf_checkpoint import ModelCheckpoint
from kept.training.tf_wandb_checkpoint import WandbModelCheckpoint

__all__ = ["ModelCheckpoint", "WandbModelCheckpoint"]
