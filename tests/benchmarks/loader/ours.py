"""This project's loader over its own shards."""

from collections.abc import Iterator

from torch import Tensor

from pipeline.config import load
from pipeline.data.loader import Loader
from pipeline.device import open_device
from pipeline.models.build import build_model
from pipeline.plan import make_plan
from pipeline.shards import open_split
from pipeline.world import World
from tests.benchmarks.loader.material import BATCH, SIDE, WORKERS, Material
from tests.benchmarks.record import ROOT

_CROP_FLIP = (
    "augment.aa=null",
    "augment.mixup=0",
    "augment.cutmix=0",
    "augment.reprob=0",
    "augment.train_interpolation=bilinear",
)


def crop_flip(material: Material) -> Iterator[Tensor]:
    """(B, 224, 224, 3) uint8."""
    for _, pixels in _loader(material, *_CROP_FLIP).pixel_batches(0):
        yield pixels


def full_recipe(material: Material) -> Iterator[Tensor]:
    """(B, 3, 224, 224) float32, normalised and mixed."""
    for step in _loader(material).steps(0):
        for slot in step.slots:
            yield slot.images


def _loader(material: Material, *overrides: str) -> Loader:
    settings = [
        "device=cpu",
        "engine.dtype=fp32",
        f"data.root={material.shards}",
        f"data.decode_threads={WORKERS}",
        f"augment.img_size={SIDE}",
        f"train.global_batch={BATCH}",
        f"train.micro_batch={BATCH}",
        f"model.num_classes={material.classes}",
    ]
    config = load(ROOT / "configs/s12.yaml", [*settings, *overrides]).config
    device = open_device(config, World())
    train = open_split(config.data.root, "train")
    plan = make_plan(config, 1, len(train), len(train))
    rates = build_model(config.model, config.seed, SIDE).drop_path_rates
    return Loader(config, plan, 0, device, train, train, rates)
