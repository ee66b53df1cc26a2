"""The note at the top of a run's page: what it says, when it is written, and whose it is."""

from pathlib import Path

from pipeline.tracking import RunFolder
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload import uploader as uploader_module
from pipeline.tracking.upload.batch import gather
from pipeline.tracking.upload.facts import RunFacts
from pipeline.tracking.upload.mlflow_store import NOTE_TAG
from pipeline.tracking.upload.note import note
from pipeline.tracking.upload.uploader import Uploader

FOLDER = RunFolder(Path("/data/runs/my digits"))


def facts_of(*records):
    facts = RunFacts()
    facts.see(gather([{"t_ms": 1, "step": 0, **record} for record in records]))
    return facts


def test_a_note_of_everything():
    facts = facts_of(
        {"kind": "params", "params": {"model.name": "metaformer", "train.epochs": "20"}},
        {"kind": "params", "params": {"train.global_batch": "64", "seed": "42", "device": "cuda"}},
        {"kind": "tags", "tags": {"git_commit": "c0ffee" * 7, "git_dirty": "true"}},
        {"kind": "tags", "tags": {"host": "n1", "launches": "3", "latest.train.epochs": "30"}},
        {
            "kind": "dataset",
            "dataset": {"name": "digits", "split": "train", "digest": "ab", "samples": 1442},
        },
        {"kind": "metrics", "step": 22, "metrics": {"val/top1": 97.5, "progress/epoch": 1.0}},
        {"kind": "model", "step": 22, "model": {"folder": "checkpoints/step-22", "metrics": {}}},
        {"kind": "metrics", "step": 44, "metrics": {"val/top1": 96.0, "progress/epoch": 2.0}},
        {"kind": "metrics", "step": 45, "metrics": {"progress/images": 2880, "val/x": "NaN"}},
        {"kind": "metrics", "step": 45, "metrics": {"progress/gpu_hours": 1234.5}},
    )
    text = note(facts, FOLDER, "lost")
    assert (
        "`metaformer` on 1,442 images of digits-train for 20 epochs in batches of 64 (seed 42)"
        in text
    )
    assert "Changed since the first launch: `train.epochs` = 30" in text
    assert "| state | lost |" in text
    assert "| best top-1 | **97.50 %** at step 22, epoch 1 |" in text
    assert "| cost | 1.23e+03 GPU-hours, 2,880 images, 3 launches |" in text
    assert "| code | `c0ffeec0ffee` and uncommitted changes |" in text
    assert "- run folder: `/data/runs/my digits` (written on n1)" in text
    assert "- best checkpoint: `/data/runs/my digits/checkpoints/step-22`" in text
    assert "launch.py --cluster local '/data/runs/my digits/config.resolved.yaml'" in text
    assert "python -m pipeline.evaluate '/data/runs/my digits'" in text


def test_a_note_of_nothing_yet():
    text = note(RunFacts(), FOLDER, "running")
    assert "| best top-1 | not evaluated |" in text
    assert "evaluate" not in text.replace("evaluated", "")


def test_the_average_of_the_weights_decides_where_one_is_kept():
    facts = facts_of(
        {"kind": "metrics", "step": 1, "metrics": {"val/top1": 99.0, "val/ema_top1": 50.0}},
        {"kind": "metrics", "step": 2, "metrics": {"val/top1": 10.0, "val/ema_top1": 60.0}},
    )
    assert facts.best is not None
    assert (facts.best.value, facts.best.step) == (60.0, 2)


def test_the_first_step_that_reached_the_best_counts_and_no_nan():
    values = {1: 50.0, 2: "NaN", 3: 60.0, 4: 60.0}
    facts = facts_of(
        *({"kind": "metrics", "step": s, "metrics": {"val/top1": v}} for s, v in values.items())
    )
    assert facts.best is not None
    assert facts.best.step == 3


def test_it_is_written_for_a_new_best_and_a_new_state_alone(made, store, monkeypatch):
    written = []
    make = uploader_module.note
    monkeypatch.setattr(
        uploader_module, "note", lambda *facts: written.append(facts[-1]) or make(*facts)
    )
    uploader = Uploader(made.folder, StoreUri(store.uri))
    uploader.upload()
    assert written == ["running"]
    made.steps(1, 22)
    uploader.upload()
    made.evaluated(22, 40.0)
    uploader.upload()
    made.evaluated(44, 30.0, is_best=False)
    uploader.upload()
    assert written == ["running", "running"]
    made.end()
    uploader.upload()
    uploader.upload()
    assert written == ["running", "running", "finished"]
    text = made.stored(store.uri).tags[NOTE_TAG]
    assert "| state | finished |" in text
    assert "**40.00 %** at step 22" in text


def test_a_note_that_a_person_has_edited_is_theirs(made, store, capsys):
    stored = made.synced(store.uri)
    stored.client.set_tag(stored.run_id, NOTE_TAG, "keep this one: the baseline")
    made.evaluated(22, 40.0)
    made.end()
    assert made.synced(store.uri).tags[NOTE_TAG] == "keep this one: the baseline"
    assert "was edited in MLflow" in capsys.readouterr().err
    made.folder.cursor.unlink()
    assert made.synced(store.uri).tags[NOTE_TAG] == "keep this one: the baseline"


def test_a_note_that_a_person_has_emptied_stays_empty(made, store):
    stored = made.synced(store.uri)
    stored.client.set_tag(stored.run_id, NOTE_TAG, "")
    made.end()
    assert made.synced(store.uri).tags.get(NOTE_TAG, "") == ""


def test_our_own_note_is_renewed_also_without_the_cursor(made, store):
    made.synced(store.uri)
    made.folder.cursor.unlink()
    made.end("KILLED")
    assert "| state | killed |" in made.synced(store.uri).tags[NOTE_TAG]
