"""A training's start on a node that is well, and on nodes that are not."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config, load
from pipeline.errors import NodeUnfitError, PreflightError
from pipeline.tracking.claim import run_folder_of
from pipeline.tracking.run_folder import update_run_info
from pipeline.world import World
from slurm.doctor.preflight import Patience, preflight

ROOT = Path(__file__).resolve().parents[3]
SOON = Patience(others_s=0.4, space_s=0.4, poll_s=0.02)


@pytest.fixture
def config(digit_shards: Path, tmp_path: Path) -> Callable[..., Config]:
    def build(*overrides: str) -> Config:
        where = (f"data.root={digit_shards}", f"runs_root={tmp_path}/runs")
        return load(ROOT / "configs/digits.yaml", (*where, *overrides)).config

    return build


def node(number: int, nodes: int = 2, local_rank: int = 0) -> World:
    return World(
        rank=2 * number + local_rank,
        size=2 * nodes,
        local_rank=local_rank,
        local_size=2,
        job_id="7",
        node_name=f"n{number + 1}",
    )


def test_a_node_that_is_well_starts_within_a_second(config: Callable[..., Config]) -> None:
    began = time.monotonic()
    preflight(config(), node(0))
    assert time.monotonic() - began < 1
    # It writes nothing that a thousand restarts would pile up.
    assert not run_folder_of(config()).path.exists()


def test_one_rank_of_a_node_looks(config: Callable[..., Config]) -> None:
    broken = config("data.root=nowhere")
    preflight(broken, node(0, local_rank=1))
    with pytest.raises(PreflightError):
        preflight(broken, node(0), patience=SOON)


def test_a_fault_that_others_do_not_have_is_the_nodes_own(config: Callable[..., Config]) -> None:
    with pytest.raises(
        NodeUnfitError, match=r"^n2: shards: .*no manifest\.json there; .*data\.root"
    ):
        preflight(config("data.root=nowhere"), node(1), patience=SOON)


def test_a_fault_of_all_nodes_is_no_nodes(config: Callable[..., Config]) -> None:
    errors: list[PreflightError] = []

    def start(number: int) -> None:
        try:
            preflight(config("data.root=nowhere"), node(number, 3), patience=Patience(10, 10, 0.02))
        except PreflightError as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(error) for error in errors] == [PreflightError] * 3


def test_an_earlier_attempt_says_nothing_of_this_one(config: Callable[..., Config]) -> None:
    broken = config("data.root=nowhere")
    for number in range(2):
        with pytest.raises(NodeUnfitError):
            preflight(broken, World(0, 4, 0, 2, number, "7", f"n{number}"), patience=SOON)


def test_a_lone_node_is_to_blame_once_the_run_has_been_trained(
    config: Callable[..., Config],
) -> None:
    broken = config("data.root=nowhere")
    with pytest.raises(PreflightError) as first:
        preflight(broken, node(0, nodes=1), patience=SOON)
    assert not isinstance(first.value, NodeUnfitError)
    update_run_info(run_folder_of(broken).path, datasets={"digits-train": "abc"})
    with pytest.raises(NodeUnfitError):
        preflight(broken, node(0, nodes=1), patience=SOON)


def test_an_interface_that_this_node_lacks(
    config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib7")
    with pytest.raises(NodeUnfitError, match="n1: interface: GLOO_SOCKET_IFNAME=ib7 is not on"):
        preflight(config(), node(0), patience=SOON)


def test_a_folder_of_runs_that_takes_no_files(config: Callable[..., Config]) -> None:
    with pytest.raises(NodeUnfitError, match=r"n1: runs folder: .*takes no files from here"):
        preflight(config("runs_root=/proc/runs"), node(0), patience=SOON)


def test_without_room_it_waits_and_then_says_so(
    config: Callable[..., Config], small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "filler").write_bytes(bytes(16 << 20))
    with pytest.raises(PreflightError, match=r"^n1: runs_root=.* is full") as raised:
        preflight(config(f"runs_root={small_disk}"), node(0), patience=SOON)
    assert not isinstance(raised.value, NodeUnfitError)
    assert capfd.readouterr().err.count("waiting 0.4 s for room") == 1


def test_room_that_comes_in_time(config: Callable[..., Config], small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(16 << 20))
    timer = threading.Timer(0.3, filler.unlink)
    timer.start()
    preflight(config(f"runs_root={small_disk}"), node(0), patience=Patience(0.4, 20, 0.02))
    timer.join()
    assert not filler.exists()
