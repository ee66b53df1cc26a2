"""The loader's own stopwatch: what it says bounds the loader."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.schema import Config
from pipeline.data.bench import Stage, bound, cpu_shares, per_cpu, supply


def stages(read: float, whole: float, busy: float) -> list[Stage]:
    return [
        Stage("read", read, 0.1, 1.0),
        Stage("decode", 2 * whole, 1.1, busy),
        Stage("crop", 1.5 * whole, 1.0, busy),
        Stage("operations", whole, 2.1, busy),
    ]


def test_shares_add_up_and_are_each_ones_own() -> None:
    shares = cpu_shares(stages(9000, 500, 1.9))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["crop"] == 0 and shares["operations"] == pytest.approx(1.0 / 2.1)


@pytest.mark.parametrize(
    ("read", "busy", "threads", "cpus", "word"),
    [
        (550, 1.0, 2, 2, "bound by reading"),
        (9000, 1.9, 2, 2, "bound by the 2 CPUs"),
        (9000, 2.0, 2, 8, "raise data.decode_threads (now 2"),
        (9000, 3.0, 8, 8, "raise data.prefetch_batches"),
    ],
)
def test_verdict(read: float, busy: float, threads: int, cpus: int, word: str) -> None:
    config = Config.model_validate({"data": {"decode_threads": threads}})
    assert word in bound(stages(read, 500, busy), config, cpus)


def test_what_a_training_needs() -> None:
    whole = Stage("mix", 640, 3.125, 2.0)
    assert per_cpu(whole) == pytest.approx(320)
    on_gpu = Config()
    assert "1.60 times the 400 img/s of the training: enough" in supply(whole, 400, on_gpu)
    assert "CPU" not in supply(whole, 4000, on_gpu)
    # 1.5 times 4,000 images at 320 per CPU.
    on_cpu = Config.model_validate({"data": {"decode": "cpu"}})
    assert "takes 19 CPUs per rank; data.decode=gpu" in supply(whole, 4000, on_cpu)
    alone = Config.model_validate({"device": "cpu"})
    assert supply(whole, 4000, alone).endswith("takes 19 CPUs per rank")


@pytest.mark.parametrize("rate", ["-1", "0", "nan", "inf"])
def test_a_rate_that_is_none(command: Callable, rate: str) -> None:
    done = command("-m", "pipeline.data.bench", "configs/digits.yaml", "--rate", rate)
    assert done.returncode == 2
    assert done.stderr == f"error: --rate {rate} must be a number of images, more than 0\n"


def test_command(command: Callable, digit_shards: Path) -> None:
    base = ("-m", "pipeline.data.bench", "configs/digits.yaml", f"data.root={digit_shards}")
    done = command(*base, "--seconds", "0.3", "--json", "--rate", "1e6")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert [stage["name"] for stage in facts["stages"]] == [
        "read",
        "decode",
        "crop",
        "operations",
        "mix",
    ]
    assert all(stage["images_per_s"] > 0 for stage in facts["stages"])
    whole = facts["stages"][-1]
    assert "1000000 img/s of the training" in facts["supply"]
    assert facts["images_per_s_and_cpu"] == pytest.approx(1000 / whole["cpu_ms_per_image"])
    done = command(*base, "train.max_steps=1", "--seconds", "0.3")
    assert done.returncode == 2 and "too few to time" in done.stderr
