"""A Slurm cluster for the tests that submit jobs."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing_programs, running_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of two CPUs. Without Slurm the test is skipped; with REQUIRE_SLURM=1 it fails."""
    if missing := missing_programs():
        reason = (
            f"not on this machine: {', '.join(missing)}; Debian has them in slurmctld, slurmd, "
            "slurm-client, munge and util-linux"
        )
        if os.environ.get("REQUIRE_SLURM") == "1":
            pytest.fail(f"REQUIRE_SLURM=1, but {reason}; or set REQUIRE_SLURM=0 to skip")
        pytest.skip(reason)
    with running_cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running
