"""The training side: deciding, taking snapshots, writing checkpoints, logging versions."""
