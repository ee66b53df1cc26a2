"""The GPUs of a machine, and whether torch and DALI work on them, or on the CPU."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slurm.doctor.finding import Verdict, fail, ok, warn
from slurm.doctor.subject import Subject

_FOREIGN_SHARE = 0.1
"""Of a GPU's memory: more in use before a training starts is another process's."""
_LARGEST_DIFFERENCE = 4.0
"""Mean over pixels, of 255: decoders round differently, wrong ones differ by tens."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as NVML tells of it."""

    name: str
    used_bytes: int
    total_bytes: int


def gpus(subject: Subject) -> Verdict | None:
    """GPUs that a process here may use, against the ranks that want one each."""
    if not subject.needs_gpu:
        return None
    # Where Slurm binds each task to a GPU of its own, a task sees that one alone.
    is_bound = subject.is_in_job and os.environ.get("CUDA_VISIBLE_DEVICES", "").isdigit()
    return gpus_verdict(1 if is_bound else subject.ranks, visible_gpus(os.environ))


def gpus_verdict(ranks: int, seen: Sequence[Gpu]) -> Verdict:
    """ranks: of a training on this node, which need a GPU each."""
    if len(seen) < ranks:
        return fail(
            f"{ranks} GPU(s) asked for, {len(seen)} seen",
            "see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES there; exclude the node, ask for fewer "
            "(--gpus-per-node), or set device=cpu",
        )
    names = ", ".join(sorted({gpu.name for gpu in seen}))
    crowded = [
        f"GPU {number} holds {gpu.used_bytes / 1e9:.1f} of {gpu.total_bytes / 1e9:.0f} GB"
        for number, gpu in enumerate(seen)
        if gpu.used_bytes > _FOREIGN_SHARE * gpu.total_bytes
    ]
    if crowded:
        return warn(
            f"{len(seen)} × {names}; {'; '.join(crowded)} already",
            "end what runs there (`nvidia-smi`), or ask for whole nodes (--exclusive)",
        )
    return ok(f"{len(seen)} × {names}, {min(g.total_bytes for g in seen) / 1e9:.0f} GB each")


def visible_gpus(environment: Mapping[str, str]) -> list[Gpu]:
    """What NVML shows and CUDA_VISIBLE_DEVICES leaves; raises NVMLError where a GPU is lost."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        seen: list[Gpu] = []
        for number in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            seen.append(Gpu(str(name), int(memory.used), int(memory.total)))
    finally:
        pynvml.nvmlShutdown()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return seen
    wanted = [item.strip() for item in visible.split(",") if item.strip()]
    if all(item.isdigit() for item in wanted):
        return [seen[int(item)] for item in wanted if int(item) < len(seen)]
    return seen[: len(wanted)]  # by UUID: their number is what counts


def torch_device(subject: Subject) -> Verdict:
    """Whether torch opens the device that the config asks for."""
    from pipeline.device import open_device
    from pipeline.world import World

    world = World(size=subject.ranks, local_size=subject.ranks, node_name=subject.node)
    return ok(f"torch computes on {open_device(subject.config, world)}")


def decoding(subject: Subject) -> Verdict:
    """One JPEG decoded by DALI where the training decodes, against Pillow."""
    import numpy as np
    from PIL import Image

    from pipeline.data.dali.one_image import decode_one

    on_gpu = subject.needs_gpu and subject.config.data.decode != "cpu"
    steps = np.arange(256, dtype=np.uint8)
    picture = np.stack([*np.meshgrid(steps, steps), np.full((256, 256), 128, np.uint8)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    ours = decode_one(np.frombuffer(file.getvalue(), np.uint8), on_gpu)
    theirs = np.asarray(Image.open(file))
    place = "the GPU" if on_gpu else "the CPU"
    difference = float(np.abs(ours.astype(float) - theirs).mean())
    if difference > _LARGEST_DIFFERENCE:
        return fail(
            f"DALI's pixels on {place} differ from Pillow's by {difference:.1f} of 255",
            "exclude the node, or set data.decode=cpu",
        )
    return ok(f"DALI decodes a JPEG on {place} (mean difference to Pillow {difference:.2f} of 255)")
