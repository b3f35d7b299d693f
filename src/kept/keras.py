"""kept's callbacks as subclasses of Keras 3's, for where `kept.ModelCheckpoint` is tf_keras's."""

from kept.training.checkpoint import ModelCheckpoint
from kept.training.wandb_checkpoint import WandbModelCheckpoint

__all__ = ["ModelCheckpoint", "WandbModelCheckpoint"]
