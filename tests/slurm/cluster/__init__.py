"""A real Slurm cluster on this machine, for tests and, by ``make cluster``, for people.

munged, mariadbd, slurmdbd, slurmctld and one slurmd per node: their files are in one folder and
they belong to the user who starts them, root or not. A Slurm or a database that this machine may
already have is neither read nor touched.
"""

from tests.slurm.cluster.cluster import Cluster
from tests.slurm.cluster.lifetime import how_to_install, missing_programs, running_cluster
from tests.slurm.cluster.processes import ClusterError, wait_until

__all__ = [
    "Cluster",
    "ClusterError",
    "how_to_install",
    "missing_programs",
    "running_cluster",
    "wait_until",
]
