"""``python -m pipeline.plan`` with --nodes, as a user runs it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import run_cli
from pipeline.plan.__main__ import main
from pipeline.plan.network import Link, Network
from pipeline.plan.survey import survey
from pipeline.plan.survey_text import survey_text
from tests.conftest import Command
from tests.plan.situations import situation

GIVEN = ("--images-per-second", "4000", "--link", "8x400Gb/s", "--gpu", "H200 SXM")


def plan(command: Command, *args: object) -> "subprocess.CompletedProcess[str]":
    return command("-m", "pipeline.plan", "configs/m48.yaml", *args)


def test_the_paper_on_1_to_64_nodes(command: Command) -> None:
    done = plan(command, "--nodes", "1..64", *GIVEN, "data.root=shards/none")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    told = " ".join(done.stdout.split())
    for words in (
        "one rank: 4,000 img/s, as --images-per-second gives it",
        "8x400Gb/s, of which 85% is taken to be reached",
        "NVLink of H200 SXM",
        "a hop takes 3.4 us within a node and 14 us between nodes, a tree reaches 92% of",
        "the backward pass (same images per step, other draws: a new run)",
        "ImageNet's 1,281,167 training images are assumed",
        "# global batch 4096 = 64 micro-batches of 64",
        "# global batch 16384 = 256 micro-batches of 64",
        "9-64 nodes: 512 ranks for train.global_batch",
        "or train.micro_batch=8 under",
        "under 92% first on 3 nodes (8 idle slots)",
        "what helps on 4 nodes, the most useful first:",
    ):
        assert words in told
    facts = json.loads(plan(command, "--nodes", "1..64", *GIVEN, "--json").stdout)
    assert (facts["origin"], facts["gpu"], facts["parameters"]) == ("given", "H200 SXM", 73_473_448)
    large = facts["global_batches"][1]
    assert [row["nodes"] for row in large["rows"]] == list(range(1, 33))
    assert large["limit"]["advice"][0]["efficiency"] > 0.9


def test_without_a_measurement_it_is_a_bound(command: Command) -> None:
    done = plan(
        command, "--nodes", "1,2", "--global-batch", "4096", "model.drop_path=0.1", "--json"
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["origin"] in ("bound", "measured")
    if facts["origin"] == "bound":
        assert facts["images_per_second_of_a_rank"] == pytest.approx(14_298, abs=1)
        assert "which no training reaches" in facts["assumptions"][0]
        assert facts["global_batches"][0]["limit"] is None
    assert [row["ranks"] for row in facts["global_batches"][0]["rows"]] == [8, 16]


def test_shards_that_are_there_count(command: Command, digit_shards: Path) -> None:
    args = ["configs/digits.yaml", f"data.root={digit_shards}", "--nodes", "1", "--json"]
    done = command("-m", "pipeline.plan", *args, "--images-per-second", "100")
    facts = json.loads(done.stdout)
    assert any(line.startswith("data: 1,442 training images in") for line in facts["assumptions"])
    # 20 epochs of 22 steps.
    row = facts["global_batches"][0]["rows"][0]
    assert row["hours"] == pytest.approx(440 * row["step_s"] / 3600)
    assert (row["ranks"], facts["gpu"]) == (2, None)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--nodes", "0"], "--nodes 0: 0 is no whole number from 1"),
        (["--nodes", "64..1"], "--nodes 64..1: 64..1 is no whole number from 1"),
        (["--nodes", "abc"], "write it like 8, 1..64 or 1,2,4"),
        (["--nodes", "1,,2"], "an empty part is no whole number"),
        (["--nodes", "1", "--link", "wet string"], "--link wet string is no network; give"),
        (["--nodes", "64"], "use at most 64 ranks or train.micro_batch=8"),
        (["--nodes", "1", "--gpu", "V100"], "--gpu V100 is in no table; use H100 SXM"),
        (["--nodes", "1", "--gpus-per-node", "0"], "--gpus-per-node 0 must be at least 1"),
        (["--nodes", "1", "--images-per-second", "nan"], "must be a number above 0"),
        (["--nodes", "1", "--global-batch", "100"], "use 64 or 128"),
        (["--nodes", "1", "--global-batch", "2097152"], "use at most 1281152"),
        (["--nodes", "1", "model.name=resnet50"], "give --parameters"),
        (["--nodes", "1", "--parameters", "0"], "--parameters 0 must be at least 1"),
        (["--nodes", "1", "device=cpu"], "no speed is known of m48.yaml on cpu"),
        (["--nodes", "1", "--gpu", "any", "device=cpu"], "--gpu any says nothing where device=cpu"),
        (["--nodes", "1", "--global-batch", "100,200"], "use 192 or 256"),
        (["--nodes", "1", "--world", "8"], "leave one out"),
        (["--world", "0"], "--world 0 must be at least 1"),
        (["--link", "ndr"], "--link is of the forecast on many nodes; add --nodes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("sys.argv", ["plan", "configs/m48.yaml", "data.root=shards/none", *args])
    with pytest.raises(SystemExit) as left:
        run_cli(main)
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert message in err and out == ""


def test_one_gpu_trains_as_fast_as_was_said(command: Command) -> None:
    args = ("--nodes", "1", "--gpus-per-node", "1", "--global-batch", "64", *GIVEN, "--json")
    facts = json.loads(plan(command, *args).stdout)
    row = facts["global_batches"][0]["rows"][0]
    assert row["efficiency"] == pytest.approx(1.0)
    assert row["images_per_second"] == pytest.approx(4000)


def test_a_global_batch_that_fits_nowhere_leaves_the_others(command: Command) -> None:
    args = ("--nodes", "32", "--global-batch", "100,4096,16384", *GIVEN)
    done = plan(command, *args)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "# global batch 100: configs/m48.yaml: 1 problem command line: train:" in told
    assert "# global batch 4096: 256 ranks for train.global_batch" in told
    assert "# global batch 16384 = 256 micro-batches of 64" in told
    batches = json.loads(plan(command, *args, "--json").stdout)["global_batches"]
    assert [one["global_batch"] for one in batches] == [100, 4096, 16384]
    assert ["error" in one for one in batches] == [True, True, False]


def test_pcie_cards_of_a_node_do_not_wait_for_its_network(command: Command) -> None:
    args = ("--nodes", "1", "--images-per-second", "2000", "--gpu", "H100 PCIe", "--json")
    slow, fast = (
        json.loads(plan(command, *args, "--link", link).stdout) for link in ("10Gb/s", "8x400Gb/s")
    )
    assert any("PCIe of H100 PCIe, 63 GB/s" in line for line in slow["assumptions"])
    assert any(line.startswith("a hop takes 5.7 us within") for line in slow["assumptions"])
    assert slow["global_batches"] == fast["global_batches"]


@pytest.mark.parametrize(
    ("rate", "link_speed", "overrides"),
    [
        (1.0, 1e6, ()),
        (4.0, 1e8, ("train.global_batch=131072", "train.micro_batch=16")),
        (0.01, 1e5, ("train.global_batch=1048576", "engine.zero_stage=3")),
        (1e7, 1e12, ()),
    ],
)
def test_tables_of_any_speed_are_80_columns_wide(
    rate: float, link_speed: float, overrides: tuple[str, ...]
) -> None:
    first = situation(*overrides, network=Network(Link(380e9, 3e-6), Link(link_speed, 14e-6)))
    first = replace(first, machine=replace(first.machine, images_per_second=rate))
    text = survey_text([survey(first, (1, 3, 8, 1024))], ["one"])
    assert max(map(len, text.splitlines())) <= 80


def test_a_bound_is_said_to_give_no_advice() -> None:
    first = situation()
    first = replace(first, machine=replace(first.machine, is_bound=True))
    text = survey_text([survey(first, range(1, 9))], ["one"])
    assert "no advice: the img/s are only a bound; give real ones as --images-per-second" in text
    assert "what helps" not in text and "92%" not in text


def test_another_model_by_its_parameters(command: Command) -> None:
    args = ("model.name=resnet50", "--parameters", "25557032", "--images-per-second", "3000")
    done = plan(command, "--nodes", "1", *args)
    assert done.returncode == 0, done.stderr
    assert "25,557,032 trained parameters, as --parameters gives them" in done.stdout


def test_no_limit_is_said_too() -> None:
    endless = Link(1e18, 0.0)
    text = survey_text([survey(situation(network=Network(endless, endless)), (1, 2))], ["one"])
    assert "at least 92% on all of them" in text and text.startswith("- one\n")
