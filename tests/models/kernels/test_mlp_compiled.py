"""The MLP half's kernels as an A100 and an H100 or H200 would get them, at the models' shapes."""

import json
from typing import Any

import pytest

pytest.importorskip("triton")

from pipeline.models.kernels.passes import passes
from tests.conftest import Command

# Of a program, less what the system reserves (CUDA C++ Programming Guide, Compute Capabilities).
SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}
PRODUCTS = ("_hidden_kernel", "_output_kernel", "_hidden_gradient_kernel")
IN_AND_OUT_OF_A_PRODUCT = 5


@pytest.fixture(scope="module")
def lines(command: Command) -> list[dict[str, Any]]:
    done = command("-m", "tests.models.kernels.compile_mlp", TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def binaries(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "kernel" in line]


def test_nothing_spills_and_shared_memory_suffices(binaries: list[dict[str, Any]]) -> None:
    assert {binary["capability"] for binary in binaries} == {80, 90}
    for binary in binaries:
        assert binary["stack_bytes"] == 0, binary
        assert binary["shared_bytes"] <= SHARED_BYTES[binary["capability"]], binary


def test_products_use_tensor_cores_and_16_byte_accesses(binaries: list[dict[str, Any]]) -> None:
    products = [binary for binary in binaries if binary["kernel"] in PRODUCTS]
    assert {product["kernel"] for product in products} == set(PRODUCTS)
    for product in products:
        assert product["wgmma" if product["capability"] == 90 else "mma"] > 0, product
        assert product["copies_of_16_bytes"] > 0, product
        assert product["other_copies"] == 0, product
        assert product["stores_of_16_bytes"] > 0, product
        assert product["constants"]["WHOLE"], product


def test_passes_are_those_of_the_launches(lines: list[dict[str, Any]]) -> None:
    """What kernels read and write, at each stage; a library's products are not among it."""
    halves = [line for line in lines if "model" in line]
    assert len(halves) == 16
    fused = passes("mlp with epilogues")
    expected = {
        "library": passes("mlp").elementwise,
        # The gradients of both weights are a library's products.
        "triton": fused.elementwise + fused.products - 2 * IN_AND_OUT_OF_A_PRODUCT,
    }
    for half in halves:
        assert half["maps"] == expected[half["products"]], half
