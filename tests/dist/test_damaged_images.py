"""A training over images that cannot be decoded: it tells of those of all ranks, or stops."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments(shards: Path, runs: Path, *overrides: str) -> list[object]:
    return [
        *("-m", "pipeline.train", ROOT / "configs/digits.yaml"),
        *("name=damaged", f"runs_root={runs}", f"data.root={shards}", "model.num_classes=3"),
        *("train.global_batch=18", "train.micro_batch=9", "train.max_steps=4", "engine.dtype=fp32"),
        *("augment.img_size=32", "model.metaformer.dims=[8,8]", "tracking.uri=journal"),
        *("model.metaformer.depths=[1,1]", "optim.warmup_epochs=0", *overrides),
    ]


def test_the_journal_names_those_of_both_ranks(
    damaged_shards: Path, tmp_path: Path, run_ranks: Callable[..., list[str]]
) -> None:
    run_ranks(2, *arguments(damaged_shards, tmp_path, "tracking.every_steps=2"))
    lines = (tmp_path / "damaged/journal.jsonl").read_text().splitlines()
    tags = [r["tags"] for r in map(json.loads, lines) if "bad_samples/train" in r.get("tags", {})]
    text = tags[-1]["bad_samples/train"]
    assert text.startswith("3: ") and len(tags) == 1, "told once, as nothing is new later"
    for number in (5, 11, 12):
        assert f"key image{number:02} (original " in text
    assert "-train-0000.tar offset " in text and "damaged or truncated" in text


def test_too_many_on_one_rank_end_all(
    damaged_shards: Path, tmp_path: Path, ranks: Callable[..., list["subprocess.Popen[str]"]]
) -> None:
    processes = ranks(2, arguments(damaged_shards, tmp_path, "data.max_bad_samples=0"))
    outputs = [process.communicate(timeout=120) for process in processes]
    assert 4 in [process.returncode for process in processes], outputs
    assert all(process.returncode != 0 for process in processes)
    errors = "".join(stderr for _, stderr in outputs)
    assert "samples of" in errors and "data.max_bad_samples=0" in errors
