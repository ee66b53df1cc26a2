"""How much of its GPUs' peak a training uses."""

import torch

from pipeline.config import Config
from pipeline.models.cost import training_flops
from pipeline.plan.known import gpu_named


def share_of_peak(config: Config, device: torch.device) -> float | None:
    """Model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B) of one GPU at 1 image/s.

    The operations that the model needs, over the dense peak of the data sheet in engine.dtype
    (fp32: without TF32). What gradient checkpointing computes again is not counted. None on CPUs
    and on GPUs that pipeline/plan/forecast.yaml does not know.
    """
    if device.type != "cuda":
        return None
    gpu = gpu_named(torch.cuda.get_device_name(device))
    if gpu is None:
        return None
    flops = training_flops(config.model, config.augment.img_size)
    return flops / gpu.flops[config.engine.dtype]
