"""Run folders whose journals are written as training writes them."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.config import Config, dotted
from pipeline.config.load import show, write_resolved
from pipeline.tracking.journal import Journal
from pipeline.tracking.run_folder import RunFolder

START_MS = 1_700_000_000_000
DIGESTS = {"train": "a" * 64, "validation": "b" * 64}


@dataclass
class Runs:
    """Makes run folders under ``root``."""

    root: Path
    now_ms: int = field(default=START_MS)

    def make(
        self,
        name,
        top1=(),
        *,
        end="FINISHED",
        seed=42,
        world=1,
        tags=None,
        digests=None,
        experiment="digits",
        metrics=None,
        **settings,
    ):
        """A run with an evaluation every 10 steps and 60 s, an epoch each; returns its folder.

        top1: percent, one per evaluation. metrics: further ones per evaluation, by name.
        """
        folder = RunFolder(self.root / name)
        folder.path.mkdir(parents=True)
        config = Config.model_validate({"name": name, "seed": seed, **settings})
        folder.config.write_text(write_resolved(config))
        key = hashlib.md5(name.encode()).hexdigest()
        known = {"run_key": key, "name": name, "experiment": experiment, "created_ms": START_MS}
        folder.info.write_text(json.dumps(known))
        clock = [self.now_ms]
        journal = Journal(folder.journal, lambda: clock[0])
        journal.start({"world_size": world, "nodes": ["node"], "device": "cpu"})
        journal.settings({key: show(value) for key, value in dotted(config).items()})
        journal.tags({"git_commit": "c0ffee" * 6, "git_dirty": "false", **(tags or {})})
        for split, digest in ({} if digests == {} else (digests or DIGESTS)).items():
            journal.dataset("digits", split, digest, 100)
        for index, value in enumerate(top1):
            clock[0] += 60_000
            step = 10 * (index + 1)
            values = {
                "train/loss": 2.0 / (index + 1),
                "val/top1": value,
                "val/top5": min(100.0, value + 10),
                "val/loss": (100 - value) / 50,
                "perf/img_per_s": 100.0,
                "progress/epoch": float(index + 1),
                "progress/images": step * 64.0,
                "progress/gpu_hours": (clock[0] - self.now_ms) * world / 3.6e6,
            }
            values |= {key: series[index] for key, series in (metrics or {}).items()}
            journal.metrics(values, step)
        if end is not None:
            journal.end(end, {})
        journal.close()
        return folder.path


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture
def seeds(runs):
    """Two configs with three seeds each, of which ``pool`` is better by about 3 points."""
    for name, mixer, values in (
        ("pool", "pooling", (98.0, 98.4, 97.9)),
        ("ident", "identity", (95.1, 95.5, 94.7)),
    ):
        for seed, value in enumerate(values):
            model = {"metaformer": {"token_mixers": mixer}}
            runs.make(f"{name}-s{seed}", [50.0, value], seed=seed, model=model)
    return runs
