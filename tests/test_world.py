"""The world comes from the launch variables and from nowhere else."""

import pytest

from pipeline.errors import UserError
from pipeline.world import World, from_environment


def test_alone_without_variables() -> None:
    world = from_environment({})
    assert (world.rank, world.size, world.is_main, world.nodes) == (0, 1, True, 1)


def test_third_node_of_four() -> None:
    env = {"RANK": "17", "WORLD_SIZE": "32", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"}
    world = from_environment(env | {"SLURM_RESTART_COUNT": "2", "SLURM_JOB_ID": "77"})
    assert (world.node, world.nodes, world.attempt, world.job_id) == (2, 4, 2, "77")
    assert not world.is_main


@pytest.mark.parametrize("env", [{"RANK": "x"}, {"RANK": "2", "WORLD_SIZE": "2"}])
def test_nonsense_is_named(env: dict[str, str]) -> None:
    with pytest.raises(UserError, match="environment RANK"):
        from_environment(env)


def test_nodes_are_rounded_up() -> None:
    assert World(size=9, local_size=4).nodes == 3
