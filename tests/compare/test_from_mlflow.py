"""Runs read back from a store: the same as from their folders, and newer journals are noticed."""

import json
import math

import numpy as np
import pytest

from pipeline.compare import compare_runs, load_runs
from pipeline.compare.reading.from_mlflow import last_journaled_step
from pipeline.compare.reading.selection import Wanted, select_runs
from pipeline.errors import UserError
from pipeline.tracking.journal import Journal
from pipeline.tracking.upload.mlflow_store import StoreRefused, StoreUnavailable
from pipeline.tracking.upload.sync import sync_runs


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with three runs, and their folders."""
    from tests.compare.conftest import Runs

    root = tmp_path_factory.mktemp("stored")
    runs = Runs(root / "runs")
    tags = {"world_sizes": "2 from step 0", "launches": "1"}
    for seed in (1, 2):
        runs.make(f"pool-s{seed}", [50.0, 60.0 + seed], seed=seed, world=2, tags=tags)
    runs.make("ident", [40.0, math.nan, math.inf], end="REQUEUED", tags=tags)
    uri = f"sqlite:///{root}/mlflow.db"
    results = sync_runs(sorted(runs.root.iterdir()), uri)
    assert [result.outcome for result in results] == ["synced"] * 3
    return runs, uri


def select(stored, *names, **options):
    runs, uri = stored
    return select_runs(Wanted(runs=names, runs_root=runs.root, store=uri, **options))


def test_they_are_what_the_folders_say(stored):
    names = ["ident", "pool-s1", "pool-s2"]
    folders = load_runs([stored[0].root / name for name in names])
    for there, here in zip(select(stored, *names), folders, strict=True):
        assert (there.name, there.status, there.best) == (here.name, here.status, here.best)
        assert there.settings == here.settings
        assert (there.digests, there.code, there.run_key) == (here.digests, here.code, here.run_key)
        assert there.gpu_hours == pytest.approx(here.gpu_hours)
        assert there.folder == here.folder
        assert there.notes == ()
        assert there.curves.keys() == here.curves.keys()
        for key, curve in here.curves.items():
            assert there.curves[key].steps.tolist() == curve.steps.tolist()
            assert np.array_equal(there.curves[key].values, curve.values, equal_nan=True)
    assert select(stored, "pool-s1")[0].wall_s == pytest.approx(120.0)


def test_the_same_choices_work(stored):
    assert [r.name for r in select(stored, filter="best_top1>61")] == ["pool-s2"]
    assert [r.name for r in select(stored, "pool-*")] == ["pool-s1", "pool-s2"]
    run_id = select(stored, "ident")[0].mlflow_run_id
    assert run_id is not None
    assert [r.name for r in select(stored, run_id[:8])] == ["ident"]
    with pytest.raises(UserError, match=r"run 'idnet': not in MLflow at .*; did you mean ident"):
        select(stored, "idnet")
    with pytest.raises(UserError, match=r"--experiment 'digit': .*did you mean digits"):
        select(stored, experiment="digit")


def test_a_journal_newer_than_the_store_is_told_with_the_remedy(stored):
    folder = stored[0].root / "ident"
    before = (folder / "journal.jsonl").read_bytes()
    journal = Journal(folder / "journal.jsonl")
    journal.metrics({"val/top1": 99.0}, 70)
    journal.close()
    try:
        warnings = compare_runs(select(stored)).warnings
    finally:
        (folder / "journal.jsonl").write_bytes(before)
    assert [text for text in warnings if "newer" in text] == [
        "ident: its journal is newer than what MLflow has of it (step 70 here, step 30 there); "
        f"`python -m pipeline.tracking sync {folder}` uploads the rest"
    ]


def test_the_last_step_is_found_however_long_the_rest_of_the_journal_is(tmp_path):
    path = tmp_path / "journal.jsonl"
    assert last_journaled_step(path) == 0
    journal = Journal(path)
    journal.metrics({"train/loss": 1.0}, 5)
    for _ in range(1200):
        journal.system({"system/node/cpu_pct": 1.0}, 5)
    journal.close()
    assert path.stat().st_size > 1 << 16
    assert last_journaled_step(path) == 5


def test_a_store_that_is_not_there_is_named(stored, tmp_path):
    missing = tmp_path / "no.db"
    with pytest.raises(StoreRefused, match=r"no\.db: there is no such file"):
        select((stored[0], f"sqlite:///{missing}"))
    assert not missing.exists()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        select((stored[0], "http://127.0.0.1:9"))


def test_runs_of_one_name_keep_apart(stored, tmp_path):
    from tests.compare.conftest import Runs

    for root in ("here", "there"):
        folder = Runs(tmp_path / root).make("same", [50.0])
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(info | {"run_key": root}))
        sync_runs([folder], stored[1])
    names = [run.name for run in select(stored, "same")]
    assert len(set(names)) == 2
    assert all(name.startswith("same ") for name in names)
