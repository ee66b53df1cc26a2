"""What one rank computes by itself: given, measured, or a bound by the data sheet. Pure."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.plan.known import Gpu, KnownModel, gpu_named, measured_speeds, table


@dataclass(frozen=True)
class Rate:
    """Training images per second of one rank alone."""

    images_per_second: float
    origin: Literal["given", "measured", "bound"]
    words: str
    gpu: Gpu | None
    """None on CPUs."""


def rate_of(
    config: Config, model: KnownModel | None, given: float | None, gpu_name: str | None
) -> Rate:
    """The best that is known. Raises UserError where nothing is.

    given: what a person has measured or assumes; gpu_name: a GPU of the table, or None for the
    one that was measured, else the usual one.
    """
    if gpu_name is not None and config.device != "cuda":
        raise UserError(
            f"--gpu {gpu_name} says nothing where device={config.device} computes; leave it out or "
            "set device=cuda"
        )
    speeds = measured_speeds(config, model)
    gpu = None
    if config.device == "cuda":
        gpu = _gpu(gpu_name) if gpu_name else table().usual_gpu
        if gpu_name is None and given is None and speeds:
            gpu = gpu_named(speeds[0].hardware) or gpu
        speeds = [row for row in speeds if gpu_named(row.hardware) == gpu]
    if given is not None:
        return Rate(given, "given", "as --images-per-second gives it", gpu)
    if speeds:
        row = speeds[0]
        words = f"measured on {row.hardware} on {row.date} ({row.source})"
        return Rate(row.images_per_second, "measured", words, gpu)
    if model is None or gpu is None or config.augment.img_size != model.img_size:
        what = "this model" if model is None else f"{model.config} on {config.device}"
        raise UserError(
            f"no speed is known of {what} at augment.img_size={config.augment.img_size} in "
            f"engine.dtype={config.engine.dtype}; give what one rank trains as --images-per-second"
        )
    bound = gpu.flops[config.engine.dtype] / model.training_flops
    words = (
        f"not measured yet: {gpu.gpu} at its data sheet's peak, which no training reaches. So "
        "hours and efficiency are bounds from below; --images-per-second gives real ones"
    )
    return Rate(bound, "bound", words, gpu)


def _gpu(name: str) -> Gpu:
    found = gpu_named(name)
    if found is None:
        raise UserError(
            f"--gpu {name} is in no table; use {', '.join(row.gpu for row in table().gpus)}, or "
            "add its data sheet's row to pipeline/plan/forecast.yaml"
        )
    return found
