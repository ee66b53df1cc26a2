"""What ``python -m pipeline.plan CONFIG --nodes ...`` does."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import Config, load
from pipeline.errors import UserError
from pipeline.plan.advice import Situation
from pipeline.plan.counts import make_plan, open_splits
from pipeline.plan.known import Gpu, KnownModel, known_model, table, trained_parameters
from pipeline.plan.network import (
    NETWORK_HOP_S,
    NVLINK_HOP_S,
    PCIE_HOP_S,
    REACHED,
    TREE_BANDWIDTH,
    Link,
    Network,
    parse_link,
)
from pipeline.plan.rate import Rate, rate_of
from pipeline.plan.scaling import Machine
from pipeline.plan.survey import Impossible, Survey, survey
from pipeline.plan.survey_text import survey_text

IMAGENET_IMAGES = (1_281_167, 50_000)
_GPUS_PER_NODE = 8
_DEFAULT_LINK = "400Gb/s"
_FACTOR = 4
"""The second global batch, where none is asked for: 4096 and 16384 in the paper's configs."""
_RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--nodes and what goes with it."""
    group = parser.add_argument_group("forecast of steps on many nodes")
    group.add_argument("--nodes", help="numbers of nodes: 8, 1..64 or 1,2,4")
    group.add_argument(
        "--gpus-per-node", type=int, help="ranks of a node (default 8; on CPUs engine.cpu_tasks)"
    )
    group.add_argument("--link", help=f"a node's network: speed or name (default {_DEFAULT_LINK})")
    group.add_argument(
        "--images-per-second", type=float, help="of one rank (default: measured, else a bound)"
    )
    group.add_argument("--gpu", help="such as 'H200 SXM' (default: the measured, else H100 SXM)")
    group.add_argument(
        "--global-batch", help="such as 4096,16384 (default: the config's and four times it)"
    )
    group.add_argument("--parameters", type=int, help="of a model that no table knows")


def refuse_without_nodes(args: argparse.Namespace) -> None:
    """Raises UserError where a flag would say nothing."""
    for name in ("gpus_per_node", "link", "images_per_second", "gpu", "global_batch", "parameters"):
        if getattr(args, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} is of the forecast on many nodes; add --nodes or leave it out")


def report(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The forecasts as plain values and as text. Raises UserError for what has none."""
    counts = parse_counts("--nodes", args.nodes)
    if args.world is not None:
        raise UserError("--world is a number of ranks and --nodes is one of nodes; leave one out")
    config = load(args.config, args.overrides).config
    model = known_model(config)
    parameters = _parameters(config, model, args)
    rate = rate_of(config, model, _positive_rate(args.images_per_second), args.gpu)
    machine, network_words = _machine(config, rate, args)
    images, images_words = _images(config)
    surveys: list[Survey | Impossible] = []
    for batch in _global_batches(config, args.global_batch):
        try:
            chosen = load(args.config, [*args.overrides, f"train.global_batch={batch}"]).config
            # Any world will do: what is taken of this plan does not depend on it.
            most = chosen.train.global_batch // chosen.train.micro_batch
            plan = make_plan(chosen, most, *images)
            first = Situation(chosen, plan, parameters, model, machine, rate.gpu)
            surveys.append(survey(first, counts))
        except UserError as error:
            surveys.append(Impossible(batch, str(error)))
    errors = [one.error for one in surveys if isinstance(one, Impossible)]
    if len(errors) == len(surveys):
        raise UserError("\n".join(errors))
    counted = "as --parameters gives them" if args.parameters else "counted"
    frozen = "; those of model.freeze among them" if config.model.freeze else ""
    assumptions = [
        f"one rank: {rate.images_per_second:,.5g} img/s, {rate.words}",
        *network_words,
        f"model: {parameters:,} trained parameters, {counted}{frozen}",
        f"data: {images_words}",
    ]
    facts: dict[str, Any] = {
        "images_per_second_of_a_rank": rate.images_per_second,
        "origin": rate.origin,
        "gpu": None if rate.gpu is None else rate.gpu.gpu,
        "parameters": parameters,
        "assumptions": assumptions,
        "global_batches": [asdict(one) for one in surveys],
    }
    return facts, survey_text(surveys, assumptions)


def parse_counts(flag: str, text: str) -> list[int]:
    """``1..64``, ``8`` or ``1,2,8..16``: whole numbers from 1 in rising order. Raises UserError."""
    numbers: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if low < 1 or high < low:
            raise UserError(
                f"{flag} {text}: {part.strip() or 'an empty part'} is no whole number from 1 and "
                "no range of them in rising order; write it like 8, 1..64 or 1,2,4"
            )
        numbers += range(low, high + 1)
    return sorted(set(numbers))


def _global_batches(config: Config, text: str | None) -> Sequence[int]:
    batch = config.train.global_batch
    return parse_counts("--global-batch", text) if text else (batch, _FACTOR * batch)


def _parameters(config: Config, model: KnownModel | None, args: argparse.Namespace) -> int:
    if args.parameters is not None:
        if args.parameters < 1:
            raise UserError(f"--parameters {args.parameters} must be at least 1")
        return args.parameters
    if model is None:
        raise UserError(
            f"model.name={config.model.name} as {args.config} sets it is in no table of known "
            "models; count it with `python -m pipeline.models CONFIG` and give --parameters"
        )
    return trained_parameters(config, model)


def _positive_rate(given: float | None) -> float | None:
    if given is not None and not 0 < given < float("inf"):
        raise UserError(f"--images-per-second {given:g} must be a number above 0")
    return given


def _machine(config: Config, rate: Rate, args: argparse.Namespace) -> tuple[Machine, list[str]]:
    usual = _GPUS_PER_NODE if config.device == "cuda" else config.engine.cpu_tasks
    per_node = usual if args.gpus_per_node is None else args.gpus_per_node
    if per_node < 1:
        raise UserError(f"--gpus-per-node {per_node} must be at least 1")
    speed, words = parse_link(args.link or _DEFAULT_LINK, table().links)
    between = Link(speed, NETWORK_HOP_S)
    said = "" if args.link else "; assumed, --link says another"
    inside, inside_words = _inside(rate.gpu, between)
    lines = [
        f"between nodes: {words}{said}",
        f"within a node of {per_node} rank(s): {inside_words}",
        f"a hop takes {inside.hop_s * 1e6:g} us within a node and {between.hop_s * 1e6:g} us "
        f"between nodes, a tree reaches {TREE_BANDWIDTH:.0%} of a ring's speed: as NCCL reckons",
    ]
    is_bound = rate.origin == "bound"
    # One rank's training, as somebody timed it, has the optimizer's time in it already.
    memory = rate.gpu.memory_bytes_per_second if rate.gpu and is_bound else None
    network = Network(inside, between)
    return Machine(rate.images_per_second, network, per_node, memory, is_bound), lines


def _inside(gpu: Gpu | None, between: Link) -> tuple[Link, str]:
    """What the ranks of a node are joined by, and the words for it."""
    if gpu is None:
        return between, "taken to be as fast as between nodes"
    name, speed, hop_s = "NVLink", gpu.nvlink_bytes_per_second, NVLINK_HOP_S
    if speed is None:
        name, speed, hop_s = "PCIe", gpu.pcie_bytes_per_second, PCIE_HOP_S
    words = (
        f"{name} of {gpu.gpu}, {speed / 1e9:g} GB/s, of which {REACHED:.0%} is taken to be reached"
    )
    return Link(speed * REACHED, hop_s), words


def _images(config: Config) -> tuple[tuple[int, int], str]:
    """Images to train on and to evaluate on, and where the numbers come from."""
    root = config.data.root
    if Path(root).is_dir():
        train, val = map(len, open_splits(config))
        return (train, val), f"{train:,} training images in {root}"
    words = f"no shards in {root}: ImageNet's {IMAGENET_IMAGES[0]:,} training images are assumed"
    return IMAGENET_IMAGES, words
