"""Checkpoints that any world size and any ZeRO stage can resume; folder.py is their contract."""

from pipeline.checkpoint.checkpoints import Checkpoints
from pipeline.checkpoint.progress import Progress, evaluated

__all__ = ["Checkpoints", "Progress", "evaluated"]
