"""What tests on a GPU have in common."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def same_bits_from_cublas() -> None:
    """Deterministic algorithms want this before the process's first call of cuBLAS."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
