"""A doctor's job on real nodes: what it prints, and what becomes of nodes that do not answer."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UserError
from slurm.doctor.answers import Answer, read_answers
from slurm.doctor.command import add_arguments, run
from slurm.doctor.finding import Finding
from slurm.doctor.nodes import collected, pair_rows
from tests.slurm.cluster import Cluster

ROOT = Path(__file__).resolve().parents[3]
WELL = Finding("python", "ok", "3.11.7", "", "n1")
ANSWERS = [
    Answer(0, "n1", [WELL], {1: 900.0, 2: "it does not take part"}, is_done=True),
    Answer(1, "n2", [replace(WELL, node="n2")], {0: 900.0, 2: "timeout"}, is_done=True),
    Answer(2, "n3", [replace(WELL, node="n3")]),
]


def doctor(*words: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_intermixed_args(list(map(str, words))))


@pytest.mark.slurm
def test_two_nodes_are_examined_and_exchange(
    cluster: Cluster,
    digit_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    where = [f"data.root={digit_shards}", f"runs_root={tmp_path}", "data.decode_threads=1"]
    server = "tracking.uri=http://127.0.0.1:9"
    code = doctor(ROOT / "configs/digits.yaml", *where, server, "--nodes", 2, "--json")
    said = capfd.readouterr()
    report = json.loads(said.out)
    found = {(finding["node"], finding["check"]): finding for finding in report["findings"]}
    nodes = {node for node, _ in found}
    assert len(nodes) == 2 and nodes <= set(cluster.nodes)
    for node in nodes:
        own = {check: f["state"] for (whose, check), f in found.items() if whose == node}
        # A server that is not reached costs no training.
        assert own.pop("MLflow") == "warn"
        assert set(own.values()) == {"ok"}, found
        assert {"torch", "decoding", "shards", "first node", "Slurm", "all-reduce"} <= set(own)
    assert sum(check == "clock" for _, check in found) == 1  # the second's, against the first's
    [pair] = report["all_reduce"]
    assert set(pair["nodes"]) == nodes and pair["mb_per_s"] > 1
    assert code == report["exit_code"] == 0
    assert "for 2 node(s)" in said.err and "Traceback" not in said.err


@pytest.mark.slurm
def test_more_nodes_than_there_are(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="--nodes 99: partition test has"):
        doctor(ROOT / "configs/digits.yaml", f"runs_root={tmp_path}", "--nodes", 99)
    assert list(tmp_path.iterdir()) == []


def test_nodes_need_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no sbatch on this machine"):
        doctor(ROOT / "configs/digits.yaml", "--nodes", 2)


def test_settings_need_a_config() -> None:
    with pytest.raises(UserError, match="need a config before them"):
        doctor("device=cpu")


def test_answers_survive_their_file(tmp_path: Path) -> None:
    for answer in reversed(ANSWERS):
        answer.write(tmp_path / "7")
    assert read_answers(tmp_path / "7") == ANSWERS
    assert read_answers(tmp_path / "8") == []


def test_a_node_that_does_not_come_to_its_end_fails() -> None:
    findings = collected(ANSWERS, 4, "/logs/7")
    job = {finding.node: finding for finding in findings if finding.check == "job"}
    assert {finding.state for finding in job.values()} == {"fail"}
    assert set(job) == {"n3", "rank 3"}
    assert job["n3"].reason == "it ended after python" and "/logs/7_2_log.err" in job["n3"].remedy
    assert job["rank 3"].reason == "it never began"


def test_pairs_are_told_once() -> None:
    assert pair_rows(ANSWERS) == [
        {"nodes": ["n1", "n2"], "mb_per_s": 900.0},
        {"nodes": ["n1", "n3"], "error": "it does not take part"},
        {"nodes": ["n2", "n3"], "error": "timeout"},
    ]
