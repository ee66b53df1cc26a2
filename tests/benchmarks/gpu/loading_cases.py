"""The loader of M48's whole recipe with one setting after the other changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import load
from pipeline.data.loader import Loader
from pipeline.device import open_device
from pipeline.plan import make_plan, open_splits
from pipeline.world import World, cpus_at_hand
from tests.benchmarks.record import ROOT

REFERENCE = "GPU decode"
ON_CPU = "CPU decode"


@dataclass(frozen=True)
class Case:
    """One way to run the loader; settings beyond these are the config's."""

    name: str
    decode: str = "gpu"
    batch: int = 256
    decode_threads: int = 8
    read_threads: int = 8
    prefetch_batches: int = 2
    hw_decoder_load: float = 1.0


def cases(device: str, is_smoke: bool) -> list[Case]:
    """The most wanted first: the reference, the CPU's, and one change at a time."""
    cpus = min(16, cpus_at_hand())
    on_cpu = Case(ON_CPU, decode="cpu", decode_threads=cpus)
    found = [Case(REFERENCE), on_cpu] if device == "cuda" else [on_cpu]
    if device == "cuda":
        found += [Case(f"hw_decoder_load {x:g}", hw_decoder_load=x) for x in (0.65, 0.9, 0.0)]
        found += [Case(f"{n} decode_threads", decode_threads=n) for n in (4, cpus)]
    found += [
        Case(f"{n} images a batch", on_cpu.decode if device == "cpu" else "gpu", batch=n)
        for n in (128, 64)
    ]
    if device == "cuda":
        found += [
            Case("4 prefetch_batches", prefetch_batches=4),
            Case("2 read_threads", read_threads=2),
        ]
    return [_small(case) for case in found[:2]] if is_smoke else found


def batches(case: Case, shards: Path, device: str) -> Iterator[int]:
    """Numbers of images, each as soon as its batch is queued on the device; for 300 epochs."""
    overrides = [
        "name=benchmark",
        f"device={device}",
        f"data.root={shards}",
        "data.val_split=train",
        f"data.decode={case.decode}",
        f"data.decode_threads={case.decode_threads}",
        f"data.read_threads={case.read_threads}",
        f"data.prefetch_batches={case.prefetch_batches}",
        f"data.hw_decoder_load={case.hw_decoder_load}",
        f"train.global_batch={case.batch}",
        f"train.micro_batch={case.batch}",
    ]
    config = load(ROOT / "configs/m48.yaml", overrides).config
    splits = open_splits(config)
    plan = make_plan(config, 1, *map(len, splits))
    loader = Loader(config, plan, 0, open_device(config, World()), *splits, np.zeros(0))
    for step in loader.steps(0):
        yield from (len(slot.images) for slot in step.slots)


def _small(case: Case) -> Case:
    return Case(
        name=case.name,
        decode=case.decode,
        batch=case.batch // 32,
        decode_threads=1,
        read_threads=1,
    )
