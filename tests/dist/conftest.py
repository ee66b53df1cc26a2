"""Several ranks on this machine: gloo processes started without a launcher."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.benchmarks.parity.reduced import Reduced

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def ranks() -> Callable[..., list["subprocess.Popen[str]"]]:
    """Start ``python ARGS`` once per rank; returns the processes."""

    def start(
        world: int, args: Sequence[object], cwd: Path = ROOT
    ) -> list["subprocess.Popen[str]"]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        processes = []
        for rank in range(world):
            env = os.environ | {
                "PYTHONPATH": str(ROOT),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "LOCAL_WORLD_SIZE": str(world),
            }
            processes.append(
                subprocess.Popen(
                    [sys.executable, *map(str, args)],
                    cwd=cwd,
                    env=env,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
        return processes

    return start


@pytest.fixture(scope="session")
def run_ranks(ranks: Callable[..., list["subprocess.Popen[str]"]]) -> Callable[..., list[str]]:
    """Run ``python ARGS`` on every rank to its end; returns their stdouts. Fails with stderr."""

    def run(world: int, *args: object, expect: int = 0, timeout_s: float = 240) -> list[str]:
        processes = ranks(world, args)
        outputs = [process.communicate(timeout=timeout_s) for process in processes]
        for process, (_, stderr) in zip(processes, outputs, strict=True):
            assert process.returncode == expect, stderr[-3000:]
        return [stdout for stdout, _ in outputs]

    return run


@pytest.fixture(scope="session")
def parity(digit_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> "Reduced":
    """The outcomes of the parity harness on up to three ranks, run once for all tests."""
    from tests.benchmarks.parity.reduced import run

    return run(tmp_path_factory.mktemp("parity"), digit_shards)
