"""Images that break DALI while training: named, counted, replaced alike on every world."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import Config, load
from pipeline.data.batches import Step
from pipeline.data.loader import Loader
from pipeline.errors import DataError
from pipeline.plan import make_plan
from pipeline.shards import open_split

BAD = (5, 11, 12)  # of the fixture's
IMAGES = 36


def config_of(damaged_shards: Path, **extra: object) -> Config:
    overrides = {
        "data.root": damaged_shards,
        "model.num_classes": 3,
        "train.global_batch": 12,
        "train.micro_batch": 6,
        "train.max_steps": 6,
        "augment.img_size": 32,
        "engine.dtype": "fp32",
        "evaluate.batch_size": 8,
    } | extra
    config = Path(__file__).parents[2] / "configs/digits.yaml"
    return load(config, [f"{key}={value}" for key, value in overrides.items()]).config


def loader_of(config: Config, world: int = 1, rank: int = 0) -> Loader:
    train, val = (open_split(config.data.root, split) for split in ("train", "validation"))
    plan = make_plan(config, world, len(train), len(val))
    return Loader(config, plan, rank, torch.device("cpu"), train, val, np.zeros(0))


def slots(steps: list[Step]) -> dict[tuple[int, int], torch.Tensor]:
    return {(step.number, slot.index): slot.images for step in steps for slot in step.slots}


def test_training_goes_on_alike_on_any_world(
    damaged_shards: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = config_of(damaged_shards)
    alone = loader_of(config)
    reference = slots(list(alone.steps(0)))
    shown = capfd.readouterr().err
    for number in BAD:
        key = f"image{number:02}"
        assert shown.count(f"key {key} (original") == 1, "named once, whatever the epochs"
    assert "bad-train-0000.tar offset " in shown or "train-0000.tar offset " in shown
    assert len(alone._train_images.bad.reasons) == len(BAD)
    both: dict[tuple[int, int], torch.Tensor] = {}
    for rank in range(2):
        both |= slots(list(loader_of(config, 2, rank).steps(0)))
    resumed = slots(list(loader_of(config).steps(3)))
    assert both.keys() == reference.keys() and len(resumed) == 6
    for found in (both, resumed):
        assert all(torch.equal(images, reference[place]) for place, images in found.items())


def test_the_substitute_is_a_good_neighbour_with_its_label(damaged_shards: Path) -> None:
    config = config_of(damaged_shards)
    loader = loader_of(config)
    originals = list(loader._places(0))
    bad = {s for s in range(IMAGES) if int(loader.train.name(s)[0][-2:]) in BAD}
    replaced = 0
    for place, (shown, pixels) in zip(originals, loader.pixel_batches(0), strict=True):
        assert not bad & set(shown.ids.tolist())
        for row in np.flatnonzero(place.ids != shown.ids).tolist():
            source = place.ids.tolist().index(shown.ids[row])
            assert place.ids[row] in bad and torch.equal(pixels[row], pixels[source])
            replaced += 1
    assert replaced == len(BAD) * 2  # six steps of twelve are two epochs


def test_evaluation_counts_every_id_once(damaged_shards: Path) -> None:
    batches = list(loader_of(config_of(damaged_shards)).evaluation())
    assert sorted(i for batch in batches for i in batch.ids.tolist()) == list(range(IMAGES))
    labels = [label for batch in batches for label in batch.targets.tolist()]
    assert np.bincount(labels).tolist() == [12, 12, 12]


def test_too_many_stop_the_job(damaged_shards: Path) -> None:
    loader = loader_of(config_of(damaged_shards, **{"data.max_bad_samples": 1}))
    with pytest.raises(DataError, match=r"2 samples of .*-train cannot be decoded") as caught:
        list(loader.steps(0))
    assert "data.max_bad_samples=1" in str(caught.value) and "verify.py" in str(caught.value)


def test_a_batch_without_any_good_image_stops_the_job(damaged_shards: Path) -> None:
    config = config_of(damaged_shards, **{"train.global_batch": 1, "train.micro_batch": 1})
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"max_steps": IMAGES})}
    )
    with pytest.raises(DataError, match="none of the 1 images of a batch can be decoded"):
        list(loader_of(config).steps(0))
