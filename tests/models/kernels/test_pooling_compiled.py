"""The pooling half's kernels as an A100 and an H100 or H200 would get them, at models' shapes."""

import json
from typing import Any

import pytest

pytest.importorskip("triton")

from pipeline.config.schema.model import LARGEST_FUSED_POOL
from pipeline.models.kernels.passes import passes
from tests.conftest import Command

ON_MAPS = ("forward_kernel", "products_kernel", "input_gradient_kernel")


@pytest.fixture(scope="module")
def lines(command: Command) -> list[dict[str, Any]]:
    done = command("-m", "tests.models.kernels.compile_pooling", TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_nothing_spills(lines: list[dict[str, Any]]) -> None:
    binaries = [line for line in lines if "kernel" in line]
    assert {binary["capability"] for binary in binaries} == {80, 90}
    assert {binary["constants"].get("POOL") for binary in binaries} == {None, 3, LARGEST_FUSED_POOL}
    for binary in binaries:
        assert binary["stack_bytes"] == 0, binary


def test_windows_of_3_are_read_and_written_16_bytes_at_a_time(lines: list[dict[str, Any]]) -> None:
    found = [line for line in lines if line.get("constants", {}).get("POOL") == 3]
    assert {binary["kernel"] for binary in found} == set(ON_MAPS)
    for binary in found:
        # Three loads of each of nine rows, at least.
        assert binary["loads_of_16_bytes"] >= 27, binary
        assert binary["stores_of_16_bytes"] or binary["kernel"] == "products_kernel", binary


def test_passes_are_those_of_the_launches(lines: list[dict[str, Any]]) -> None:
    halves = [line for line in lines if "model" in line]
    assert len(halves) == 8
    for half in halves:
        # Statistics of the first block of a stage read the map once more.
        assert sum(half["maps"]) == passes("pooling").elementwise + 1, half
        # An H200 has 132 multiprocessors.
        assert half["programs"] >= 4 * 132, half
