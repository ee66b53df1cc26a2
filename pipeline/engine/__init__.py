"""DeepSpeed: settings.py tells it what to do, engine.py steps, state.py reads and writes.

Only importer of deepspeed.
"""

from pipeline.engine.engine import Culprit, Engine, StepResult
from pipeline.engine.settings import deepspeed_config
from pipeline.engine.state import AVERAGE, MASTER, State

__all__ = ["AVERAGE", "MASTER", "Culprit", "Engine", "State", "StepResult", "deepspeed_config"]
