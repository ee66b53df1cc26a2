"""What reaches the model: the same micro-batches on any world and after any resume."""

import hashlib
from pathlib import Path

import pytest
import torch

from pipeline.config import Config, load
from pipeline.data.augment.mixing import draw_mix
from pipeline.data.loader import Loader
from pipeline.models.build import build_model
from pipeline.plan import make_plan
from pipeline.shards import open_split

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3


@pytest.fixture(scope="module")
def config(digit_shards: Path) -> Config:
    overrides = [
        f"data.root={digit_shards}",
        "train.global_batch=256",
        "train.micro_batch=32",
        f"train.max_steps={5 + STEPS}",  # five steps an epoch: the last ones are of the second
        "augment.hflip=0.5",
        "augment.aa=rand-m9-mstd0.5-inc1",
        "augment.mixup=0.8",
        "augment.cutmix=1.0",
        "augment.reprob=0.25",
        "augment.img_size=64",
        "engine.dtype=fp32",
        "model.drop_path=0.2",
    ]
    return load(ROOT / "configs/digits.yaml", overrides).config


def loader_of(config: Config, world: int, rank: int) -> Loader:
    train, val = (open_split(config.data.root, s) for s in ("train", "validation"))
    plan = make_plan(config, world, len(train), len(val))
    rates = build_model(config.model, 0, 64).drop_path_rates
    return Loader(config, plan, rank, torch.device("cpu"), train, val, rates)


def digest(*tensors: torch.Tensor) -> str:
    return hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()


def micro_batches(config: Config, world: int, start: int = 0) -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], str] = {}
    for rank in range(world):
        for step in loader_of(config, world, rank).steps(start):
            for slot in step.slots:
                if not slot.is_empty:
                    assert slot.drop_path is not None
                    assert (step.number, slot.index) not in found
                    found[step.number, slot.index] = digest(
                        slot.images, slot.targets, slot.drop_path, torch.tensor(slot.torch_seed)
                    )
    return found


@pytest.fixture(scope="module")
def alone(config: Config) -> dict[tuple[int, int], str]:
    found = micro_batches(config, 1)
    assert len(found) == (5 + STEPS) * 8 == len(set(found.values()))
    return found


@pytest.mark.parametrize("world", [2, 3, 4, 8])
def test_worlds_see_the_same(world: int, config: Config, alone: dict[tuple[int, int], str]) -> None:
    assert micro_batches(config, world) == alone


@pytest.mark.parametrize(("start", "world"), [(1, 1), (5, 2), (7, 3)])
def test_resume_sees_the_rest(
    start: int, world: int, config: Config, alone: dict[tuple[int, int], str]
) -> None:
    rest = {place: found for place, found in alone.items() if place[0] >= start}
    assert micro_batches(config, world, start) == rest


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_evaluation_sees_every_id_once(world: int, config: Config) -> None:
    loaders = [loader_of(config, world, rank) for rank in range(world)]
    turns = [list(loader.evaluation()) for loader in loaders]
    assert len({len(batches) for batches in turns}) == 1
    ids = [int(i) for batches in turns for batch in batches for i in batch.ids]
    assert sorted(ids) == list(range(len(loaders[0].val)))


def test_images_are_normalised_and_labels_belong_to_them(config: Config) -> None:
    loader = loader_of(config, 1, 0)
    batch = next(loader.evaluation())
    assert batch.images.shape == (64, 3, 64, 64) and batch.images.dtype == torch.float32
    assert -1.01 < batch.images.min() < -0.9 and 0.9 < batch.images.max() < 1.01
    names = [loader.val.name(int(i))[1] for i in batch.ids]
    classes = [loader.val.classes[label] for label in batch.targets.tolist()]
    assert [Path(name).parent.name for name in names] == classes


def test_targets_are_those_of_the_mixed_images(config: Config) -> None:
    """Each row holds two shares at most, of its own label and of its mirror's in the batch."""
    loader = loader_of(config, 1, 0)
    places = loader.pixel_batches(0)
    slots = next(loader.steps(0)).slots
    for slot in slots:
        place, _ = next(places)
        mix = draw_mix(config.augment, config.seed, 0, slot.index)
        assert mix is not None
        labels = torch.from_numpy(loader.train.labels(place.ids))
        rows = torch.arange(len(labels))
        expected = torch.zeros(len(labels), 10)
        expected[rows, labels] += mix.lam
        expected[rows, labels.flip(0)] += 1 - mix.lam
        assert torch.allclose(slot.targets, expected)
        assert slot.index == place.index


def test_without_mixing_targets_are_labels(config: Config) -> None:
    plain = config.model_copy(
        update={"augment": config.augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0})}
    )
    slot = next(loader_of(plain, 1, 0).steps(0)).slots[0]
    assert slot.targets.dtype == torch.int64 and slot.targets.shape == (32,)
