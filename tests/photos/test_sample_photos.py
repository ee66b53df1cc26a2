"""Real ImageNet photographs: a model learns them, and is evaluated as timm would."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.config import Config, load
from pipeline.data.loader import Loader
from pipeline.plan import make_plan, open_splits

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.photos


def metrics(run: Path, key: str) -> list[float]:
    lines = (run / "journal.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["kind"] == "metrics"]
    return [record["metrics"][key] for record in records if key in record["metrics"]]


def test_poolformer_s12_learns_on_real_photographs(photo_run: tuple[Path, list[str]]) -> None:
    losses = metrics(photo_run[0], "train/loss")
    # Ten passes over the photographs: it must have learnt some of them by heart.
    assert len(losses) == 5 and losses[-1] < losses[0] - 0.3, losses


def model_of(run: Path, config: Config) -> torch.nn.Module:
    model = timm.create_model(config.model.name, num_classes=config.model.num_classes).eval()
    newest = max((run / "checkpoints").glob("step-*"))
    state = {key: v for part in newest.glob("state-*") for key, v in load_file(part).items()}
    prefix = "master/net."
    model.load_state_dict(
        {key[len(prefix) :]: v for key, v in state.items() if key.startswith(prefix)}
    )
    return model


@torch.no_grad()
def timm_logits(model: torch.nn.Module, config: Config, loader: Loader, photos: Path) -> np.ndarray:
    """One process, PIL and timm's own transform, image by image in the order of the ids."""
    transform = timm.data.create_transform(
        (3, config.augment.img_size, config.augment.img_size),
        interpolation=config.evaluate.interpolation,
        crop_pct=config.evaluate.crop_pct,
    )
    rows = []
    for sample in range(len(loader.val)):
        image = Image.open(photos / loader.val.name(sample)[1]).convert("RGB")
        rows.append(model(transform(image)[None])[0].numpy())  # type: ignore[operator]
    return np.stack(rows)


@torch.no_grad()
def our_logits(model: torch.nn.Module, config: Config, world: int) -> tuple[np.ndarray, Loader]:
    splits = open_splits(config)
    plan = make_plan(config, world, *map(len, splits))
    found: dict[int, np.ndarray] = {}
    loaders = [
        Loader(config, plan, rank, torch.device("cpu"), *splits, np.zeros(0))
        for rank in range(world)
    ]
    for loader in loaders:
        for batch in loader.evaluation():
            if batch.is_padding:
                continue
            for sample, row in zip(batch.ids.tolist(), model(batch.images), strict=True):
                assert sample not in found
                found[sample] = row.numpy()
    assert sorted(found) == list(range(len(splits[1])))
    return np.stack([found[sample] for sample in sorted(found)]), loaders[0]


def top(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    best = np.argsort(-logits, axis=1)[:, :k]
    return 100 * float((best == labels[:, None]).any(axis=1).mean())


@pytest.mark.parametrize(("world", "batch_size"), [(1, 64), (3, 17)])
def test_evaluation_is_timms(
    world: int, batch_size: int, photo_run: tuple[Path, list[str]], photos: Path
) -> None:
    run, overrides = photo_run
    sizes = [f"evaluate.batch_size={batch_size}", "train.micro_batch=10"]
    config = load(ROOT / "configs/s12.yaml", [*overrides, *sizes]).config
    model = model_of(run, config)
    ours, loader = our_logits(model, config, world)
    theirs = timm_logits(model, config, loader, photos)
    labels = loader.val.labels(np.arange(len(loader.val)))
    others = (ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()
    difference = float(np.abs(ours - theirs).max())
    print(
        f"{len(ours)} photographs: {others} others on top, largest logit difference "
        f"{difference:.4f} (logits span {np.ptp(theirs):.1f}); top-1 {top(ours, labels, 1):.2f} "
        f"and {top(theirs, labels, 1):.2f}, top-5 {top(ours, labels, 5):.2f} and "
        f"{top(theirs, labels, 5):.2f}"
    )
    allowed = len(ours) / 200
    assert others <= allowed
    for k, key in ((1, "val/top1"), (5, "val/top5")):
        assert abs(top(ours, labels, k) - top(theirs, labels, k)) <= 100 * allowed / len(ours)
        # What the run journaled is what its weights give here.
        assert metrics(run, key)[-1] == pytest.approx(top(ours, labels, k), abs=0.51)
    assert top(theirs, labels, 1) > 2, "a model that knows nothing would prove nothing"
    assert difference < 0.05 * np.ptp(theirs)
