"""Time the loader of a config alone, stage by stage, and say what bounds it."""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipeline.config import Config, load
from pipeline.errors import UserError, run_cli
from pipeline.world import World, cpus_at_hand

if TYPE_CHECKING:
    from pipeline.data.loader import Loader

_WARM_UP_BATCHES = 4
_RESERVE = 1.5
"""Times as many images as the training takes in, so that it never waits for the slow ones."""
_BUSY = 0.85
"""Share of the CPUs' time from which on they are what is lacking."""


@dataclass(frozen=True)
class Stage:
    """The loader up to a stage, running alone."""

    name: str
    images_per_s: float
    cpu_ms_per_image: float
    """Of all threads."""
    cpus_busy: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.data.bench", description=__doc__)
    parser.add_argument("config", help="config file, such as configs/s12.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--seconds", type=float, default=5.0, help="per stage (default 5)")
    parser.add_argument(
        "--rate", type=float, metavar="N", help="images per second that a rank's training takes in"
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_intermixed_args()
    if args.seconds <= 0:
        raise UserError(f"--seconds {args.seconds:g} must be more than 0")
    if args.rate is not None and not 0 < args.rate < math.inf:
        raise UserError(f"--rate {args.rate:g} must be a number of images, more than 0")
    config = load(args.config, args.overrides).config
    stages = measure(config, args.seconds)
    shares, verdict = cpu_shares(stages), bound(stages, config, cpus_at_hand())
    if args.json:
        facts = {"stages": [asdict(stage) for stage in stages], "cpu_shares": shares}
        facts |= {"bound": verdict, "images_per_s_and_cpu": per_cpu(stages[-1])}
        if args.rate is not None:
            facts["supply"] = supply(stages[-1], args.rate, config)
        print(json.dumps(facts))
        return 0
    print(f"{'up to':<12}{'img/s':>9}{'CPU ms/img':>12}{'CPUs busy':>11}{'own share of CPU':>18}")
    for stage in stages:
        print(
            f"{stage.name:<12}{stage.images_per_s:>9.0f}{stage.cpu_ms_per_image:>12.2f}"
            f"{stage.cpus_busy:>11.2f}{shares[stage.name]:>18.0%}"
        )
    print(f"\n{verdict}")
    print(f"a CPU feeds {per_cpu(stages[-1]):.0f} img/s")
    if args.rate is not None:
        print(supply(stages[-1], args.rate, config))
    return 0


def measure(config: Config, seconds: float) -> list[Stage]:
    """Time each stage of the training loader of one rank for about ``seconds``, warm files."""
    loader = _loader(config)
    size = config.train.micro_batch
    stages: dict[str, Callable[[], Iterable[object]]] = {
        "read": lambda: loader.file_batches(0),
        "decode": lambda: loader.pixel_batches(0, operations=False, decode_only=True),
        "crop": lambda: loader.pixel_batches(0, operations=False),
        "operations": lambda: loader.pixel_batches(0),
        "mix": lambda: (slot for step in loader.steps(0) for slot in step.slots),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The external source node")  # decoding leaves some unused
        return [_timed(name, iter(start()), size, seconds) for name, start in stages.items()]


def cpu_shares(stages: list[Stage]) -> dict[str, float]:
    """Each stage's own part of the CPU time of the whole; noise below 0 counts as 0."""
    own: dict[str, float] = {}
    before = 0.0
    for stage in stages:
        own[stage.name] = max(0.0, stage.cpu_ms_per_image - before)
        before = max(before, stage.cpu_ms_per_image)
    total = sum(own.values()) or 1.0
    return {name: value / total for name, value in own.items()}


def bound(stages: list[Stage], config: Config, cpus: int) -> str:
    """What bounds the loader, and which setting to turn, in words."""
    read, whole = stages[0], stages[-1]
    threads = config.data.decode_threads
    fact = f"{whole.images_per_s:.0f} img/s per rank"
    if read.images_per_s < 1.2 * whole.images_per_s:
        return (
            f"{fact}, bound by reading ({read.images_per_s:.0f} img/s alone): raise "
            f"data.read_threads (now {config.data.read_threads}), copy the shards to this node "
            "with data.stage_to=DIR, or set data.order=windowed"
        )
    shares = cpu_shares(stages)
    most = max(shares, key=lambda name: shares[name])
    if whole.cpus_busy > _BUSY * cpus:
        return (
            f"{fact}, bound by the {cpus} CPUs, {shares[most]:.0%} of whose time goes to {most}: "
            "more CPUs per rank, data.decode=gpu, or smaller images "
            "(data_prep/shard.py --max-side) help; data.decode_threads does not"
        )
    if threads < cpus:
        return (
            f"{fact}, bound by its threads: {whole.cpus_busy:.1f} of {cpus} CPUs are busy; raise "
            f"data.decode_threads (now {threads}; ranks on one node share its CPUs)"
        )
    return (
        f"{fact}, bound by what runs one after another: {whole.cpus_busy:.1f} of {cpus} CPUs are "
        f"busy; raise data.prefetch_batches (now {config.data.prefetch_batches}) or "
        f"train.micro_batch (now {config.train.micro_batch})"
    )


def per_cpu(whole: Stage) -> float:
    """Images per second of one CPU that does nothing else."""
    return 1000 / whole.cpu_ms_per_image


def supply(whole: Stage, rate: float, config: Config) -> str:
    """Whether ``rate`` images per second can be fed to a rank's training, in words."""
    share = whole.images_per_s / rate
    if share >= _RESERVE:
        return f"that is {share:.2f} times the {rate:.0f} img/s of the training: enough"
    text = f"that is {share:.2f} times the {rate:.0f} img/s of the training, {_RESERVE:g} are safe"
    decode = config.data.decode
    if config.device == "cuda" and decode != "cpu":
        return text  # the GPU decodes, and what the CPUs would have to be does not bound
    cpus = math.ceil(_RESERVE * rate / per_cpu(whole))
    text += f": this takes {cpus} CPUs per rank"
    if config.device == "cuda":
        text += "; data.decode=gpu takes the decoding off them"
    return text


def _loader(config: Config) -> "Loader":
    import numpy as np

    from pipeline.data.loader import Loader
    from pipeline.device import open_device
    from pipeline.plan import make_plan, open_splits

    device = open_device(config, World())
    train, val = open_splits(config)
    plan = make_plan(config, 1, len(train), len(val))
    return Loader(config, plan, 0, device, train, val, np.zeros(0))


def _timed(name: str, batches: Iterator[object], size: int, seconds: float) -> Stage:
    count = -_WARM_UP_BATCHES
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in batches:
        count += 1
        if count == 0:
            began, cpu_began = time.perf_counter(), time.process_time()
        elif count > 0 and time.perf_counter() - began >= seconds:
            break
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    if count <= 0:
        raise UserError(
            f"the training has only {count + _WARM_UP_BATCHES} micro-batches, too few to time; "
            "raise train.max_steps or train.epochs"
        )
    images = count * size
    return Stage(name, images / wall, 1000 * cpu / images, cpu / wall)


if __name__ == "__main__":
    run_cli(main)
