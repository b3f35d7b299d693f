"""Uploads to W&B; sdk is the one module that imports wandb."""
