"""What is measured: trainings of this project and of timm, each one a rung; as data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

MODEL = "m48"
BATCH = 128
BATCHES = (64, 256, 512)
"""Beside BATCH, for the fastest way."""
SIZES = ("s12", "s24", "s36", "m36")
"""Beside MODEL, for the fastest way; all are configs/<size>.yaml and timm's poolformer_<size>."""

Parts = Literal["pooling", "mlp", "epilogues", "rule"]


@dataclass(frozen=True)
class Rung:
    """One training that is timed: whose, of what, and how it is computed."""

    name: str
    whose: Literal["ours", "timm"]
    memory_format: Literal["contiguous", "channels_last"]
    compile_mode: str | None = None
    """Of torch.compile; None is eager."""
    parts: Parts | None = None
    """Our kernels: the pooling half alone; the MLP's elementwise parts too; its GEMMs too, in
    every stage; its GEMMs where the project's rule wants it, as model.kernels=triton does."""
    model: str = MODEL
    batch: int = BATCH
    grad_checkpointing: bool = False
    deterministic: bool = True
    """Of this project: engine.deterministic. timm's loop lets cuDNN choose as it likes."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


EAGER_TIMM = Rung("timm eager", "timm", "contiguous")
EAGER_TIMM_LAST = Rung("timm eager, channels_last", "timm", "channels_last")
COMPILED_TIMM = Rung("timm compiled, channels_last", "timm", "channels_last", "default")
EAGER = Rung("eager", "ours", "contiguous")
EAGER_LAST = Rung("eager, channels_last", "ours", "channels_last")
COMPILED = Rung("compiled", "ours", "channels_last", "default")
POOLING = Rung("kernels: pooling half", "ours", "channels_last", parts="pooling")
MLP = Rung("kernels: + MLP elementwise", "ours", "channels_last", parts="mlp")
EPILOGUES = Rung("kernels: + GEMM epilogues", "ours", "channels_last", parts="epilogues")
RULE = Rung("kernels: GEMM epilogues by rule", "ours", "channels_last", parts="rule")
AUTOTUNED = Rung(
    "compiled, max-autotune", "ours", "channels_last", "max-autotune", deterministic=False
)
"""Picks kernels by their time, so that it cannot be deterministic."""

LADDER = (
    EAGER_TIMM,
    EAGER_TIMM_LAST,
    COMPILED_TIMM,
    EAGER,
    EAGER_LAST,
    COMPILED,
    POOLING,
    MLP,
    EPILOGUES,
    RULE,
)
"""Timed in turn with one another."""


def of_sizes(way: Rung) -> list[Rung]:
    """The way of computing, for the other sizes of the model."""
    return [replace(way, name=size, model=size) for size in SIZES]


def of_batches(way: Rung) -> list[Rung]:
    """The way of computing, for other batches, with checkpointing, and not deterministic."""
    plain = [replace(way, name=f"batch {batch}", batch=batch) for batch in BATCHES]
    checkpointed = [
        replace(way, name=f"batch {batch}, checkpointed", batch=batch, grad_checkpointing=True)
        for batch in (BATCH, BATCHES[-1])
    ]
    return [*plain, *checkpointed, replace(way, name="not deterministic", deterministic=False)]


def fastest_of_ours(speeds: dict[str, float], among: Sequence[Rung] = LADDER) -> Rung | None:
    """The fastest measured rung of this project that needs no compiling; None if there is none.

    speeds: images per second by the rung's name.
    """
    ours = [r for r in among if r.whose == "ours" and r.compile_mode is None and r.name in speeds]
    return max(ours, key=lambda rung: speeds[rung.name], default=None)
