"""A Slurm cluster for the tests that submit jobs."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, how_to_install, missing_programs, running_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Eight idle nodes of eight CPUs, with accounting; a test that breaks some mends them.

    Without Slurm's or MariaDB's programs the test is skipped; with REQUIRE_SLURM=1 it fails.
    """
    if missing := missing_programs():
        reason = f"it needs {how_to_install(missing)}"
        if os.environ.get("REQUIRE_SLURM") == "1":
            pytest.fail(f"REQUIRE_SLURM=1: {reason}; or set REQUIRE_SLURM=0 to skip")
        pytest.skip(reason)
    with running_cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running
