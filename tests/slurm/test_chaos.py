"""A training that goes through five kinds of faults ends as if there had been none."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking.run_folder import RunFolder
from tests.dist.nursery import Nursery
from tests.slurm.chaos.judgement import Judgement, judge
from tests.slurm.chaos.mlflow_server import MlflowServer
from tests.slurm.chaos.run import Disturbed, disturb, launch
from tests.slurm.chaos.schedule import Appointment, appointments
from tests.slurm.chaos.training import Training
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

SEED = 5
NODES = 3
STEPS, LOST_AT = 130, 80


@pytest.fixture(scope="module")
def training(digit_shards: Path) -> Training:
    return Training(digit_shards, STEPS, micro_batches=NODES, checkpoint_steps=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    found = MlflowServer(tmp_path_factory.mktemp("mlflow") / "server")
    found.start()
    yield found
    found.kill()


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster,
    training: Training,
    server: MlflowServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Disturbed:
    """On the three nodes that it may have: of these one is lost in the end."""
    work, rng = tmp_path_factory.mktemp("chaos"), random.Random(SEED)
    profile = work / "home/imagenet-pipeline/site.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(f"exclude: [{', '.join(cluster.nodes[NODES:])}]\n")
    words = [
        *training.settings("chaos", work / "runs"),
        f"elastic.min_nodes={NODES - 1}",
        f"elastic.max_nodes={NODES}",
        "engine.cpu_tasks=1",
    ]
    plan = appointments(rng, ["mlflow", "kill", "requeue"], LOST_AT, most_delay_s=0.1)
    [killed] = [number for number, fault in enumerate(plan) if fault.kind == "kill"]
    # While the job wants to be queued again.
    plan.insert(killed + 1, Appointment("controller", None, rng.uniform(0, 2)))
    plan.append(Appointment("node", LOST_AT, rng.uniform(0, 0.1)))
    server.wait()
    job = launch(cluster, words, work / "home", server.uri)
    return disturb(cluster, RunFolder(work / "runs/chaos"), job, plan, rng, server)


@pytest.fixture(scope="module")
def judgement(
    disturbed: Disturbed,
    training: Training,
    server: MlflowServer,
    nursery: Nursery,
    tmp_path_factory: pytest.TempPathFactory,
) -> Judgement:
    runs = tmp_path_factory.mktemp("undisturbed")
    return judge(disturbed, training, NODES, 3, server, nursery, runs)


def test_the_faults_leave_no_trace(judgement: Judgement) -> None:
    """In weights, moments, losses, journal and MLflow; no more steps are repeated than may be."""
    assert judgement.flaws == []


def test_a_lost_node_is_done_without(disturbed: Disturbed, judgement: Judgement) -> None:
    worlds = [start.ranks for start in disturbed.starts if start.ranks is not None]
    assert worlds[0] == NODES and worlds[-1] == NODES - 1
    assert judgement.bit_equal_until >= LOST_AT - 5, "until then it was the same world"
    assert judgement.drift.keys() == {"losses", "logits"}


def test_what_the_faults_did(judgement: Judgement) -> None:
    by_kind = {cost.fault.kind: cost for cost in judgement.costs}
    assert by_kind["requeue"].steps_repeated == 0
    assert all(by_kind[kind].seconds_lost > 1 for kind in ("kill", "requeue", "node"))
    assert by_kind["controller"].fault.is_hasty
