"""Trainings of M48 on GPUs whose speeds are made up, for whatever forecasts them."""

from pathlib import Path

from pipeline.config import load
from pipeline.plan import make_plan
from pipeline.plan.advice import Situation
from pipeline.plan.known import gpu_named, known_model, trained_parameters
from pipeline.plan.network import Link, Network
from pipeline.plan.scaling import Machine

CONFIG = Path(__file__).resolve().parents[2] / "configs/m48.yaml"
IMAGES = (1_281_167, 50_000)
NETWORK = Network(Link(380e9, 3e-6), Link(40e9, 14e-6))


def situation(*overrides: str, nodes: int = 1, network: Network = NETWORK) -> Situation:
    config = load(CONFIG, overrides).config
    model = known_model(config)
    assert model is not None
    machine = Machine(4000.0, network, 8, memory_bytes_per_second=None)
    plan = make_plan(config, 8 * nodes, *IMAGES)
    gpu = gpu_named("NVIDIA H200")
    return Situation(config, plan, trained_parameters(config, model), model, machine, gpu)
