"""Typed configuration: schema/ says what there is, load.py reads it."""

from pipeline.config.flatten import dotted
from pipeline.config.load import Loaded, load, read_resolved
from pipeline.config.schema import Config

__all__ = ["Config", "Loaded", "dotted", "load", "read_resolved"]
