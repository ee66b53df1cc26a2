"""What each rung should reach, reckoned before it is measured; no torch.

python -m tests.benchmarks.gpu.predictions     # the table with assumed ceilings, nothing measured

An image of a block needs its maps to pass through memory so many times, and six matrix products
(two forward, four backward) whose time is that of their operations or of their operands,
whichever is longer. The sum over the blocks is a roof; real systems reach about 0.65 of such.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.models.kernels.passes import kept_maps, passes
from pipeline.plan.known import KnownModel, table
from tests.benchmarks.gpu import rungs
from tests.benchmarks.record import write_result

NAME = "gpu-predictions"
REACHED = 0.65
"""Of a roof, by real systems."""
GOAL = 41
"""Passes of a block whose halves are fused as far as they can be; 30 are its products'."""
_PRODUCTS = 6
_PRODUCT_PASSES = 5
"""Of a map with C channels: one side of each product has C channels, the other 4 C."""
_BYTES = 2

# Elementwise passes of eager PyTorch over a map of C channels, forward and backward.
_EAGER_POOLING = 15 + 23
_EAGER_MLP = 28 + 33
_EAGER_HIDDEN = 32
"""Those of _EAGER_MLP that are passes over the hidden layer: bias, GELU and their backwards."""
_EAGER_KEPT = (3, 11)
"""Maps that the halves keep for the backward pass: pooling, MLP."""
_HIDDEN_KEPT = 8
_COMPILED, _COMPILED_WIDE = 48, 28
"""Elementwise passes of fused PyTorch, and those of them that are not over the hidden layer."""
_CASTS = 6
_COPIES = 16
"""Eager channels_last: PyTorch has no such GroupNorm on CUDA, so that both norms and both of
their backwards copy their maps out of that order, and what follows copies them back."""


@dataclass(frozen=True)
class Ceilings:
    """What a device can do at most."""

    flops: float
    """Operations per second of a bf16 matrix product."""
    bytes_per_second: float
    """Of a copy, read and written."""


ASSUMED = Ceilings(790e12, 4.3e12)
"""An H200's, as measured elsewhere."""


EPILOGUE_DIMS = 256
"""Most channels of a block whose products the project's rule computes in Triton."""


@dataclass(frozen=True)
class Prediction:
    """Elementwise passes of a block, beside its products' own, and where they come from."""

    rung: rungs.Rung
    passes: float
    """In blocks of more than EPILOGUE_DIMS channels."""
    why: str
    kept_maps: float | None = None
    """Maps of C channels, in bf16, that a block keeps for the backward pass; None: not known."""
    narrow: float | None = None
    """Passes in the other blocks; None: as many."""

    @property
    def narrow_passes(self) -> float:
        """In blocks of at most EPILOGUE_DIMS channels."""
        return self.passes if self.narrow is None else self.narrow


def predictions() -> list[Prediction]:
    """One for each rung of the ladder, in its order."""
    return [*_of_timm(), *_of_pytorch(), *_of_kernels()]


def _of_timm() -> list[Prediction]:
    """Under autocast all but the hidden layer is fp32, with casts where the two meet."""
    eager = _EAGER_POOLING + _EAGER_MLP
    wide = eager - _EAGER_HIDDEN
    count = 2 * wide + _EAGER_HIDDEN + _CASTS
    kept = 2 * (sum(_EAGER_KEPT) - _HIDDEN_KEPT) + _HIDDEN_KEPT
    why = f"{eager} as our eager, {wide} of them in fp32; casts {_CASTS}"
    copies = f"; {_COPIES} copies between memory formats in fp32"
    compiled = f"{_COMPILED} as our compiled, {_COMPILED_WIDE} of them in fp32"
    return [
        Prediction(rungs.EAGER_TIMM, count, why, kept),
        Prediction(rungs.EAGER_TIMM_LAST, count + 2 * _COPIES, why + copies, kept),
        Prediction(rungs.COMPILED_TIMM, _COMPILED + _COMPILED_WIDE, compiled),
    ]


def _of_pytorch() -> list[Prediction]:
    count, kept = _EAGER_POOLING + _EAGER_MLP, sum(_EAGER_KEPT)
    why = f"pooling half {_EAGER_POOLING}, MLP half {_EAGER_MLP}"
    fused = "norms, GELU, scales and sums fused by inductor"
    return [
        Prediction(rungs.EAGER, count, why, kept),
        Prediction(rungs.EAGER_LAST, count + _COPIES, f"{why}, copies {_COPIES}", kept),
        Prediction(rungs.COMPILED, _COMPILED, fused),
    ]


def _of_kernels() -> list[Prediction]:
    """By their own count, which stands beside them."""
    pooling, mlp, fused = (
        passes(part).elementwise for part in ("pooling", "mlp", "mlp with epilogues")
    )
    kept = kept_maps("pooling")
    half = _COPIES // 2
    alone = f"pooling half {pooling}, MLP half in eager {_EAGER_MLP}, copies {half}"
    both = f"pooling half {pooling}, MLP half"
    rule = f"{both} {fused} up to {EPILOGUE_DIMS} channels, else {mlp}"
    plain, fused_kept = kept + kept_maps("mlp"), kept + kept_maps("mlp with epilogues")
    return [
        Prediction(rungs.POOLING, pooling + _EAGER_MLP + half, alone, kept + _EAGER_KEPT[1]),
        Prediction(rungs.MLP, pooling + mlp, f"{both} {mlp}", plain),
        Prediction(rungs.EPILOGUES, pooling + fused, f"{both} {fused}", fused_kept),
        Prediction(rungs.RULE, pooling + mlp, rule, max(plain, fused_kept), pooling + fused),
    ]


def seconds_per_image(
    model: KnownModel, wide_passes: float, narrow_passes: float, ceilings: Ceilings
) -> float:
    """The least time of forward and backward pass of one image, in bf16."""
    total = operations = 0.0
    for stage, (depth, dim) in enumerate(
        zip(model.settings["depths"], model.settings["dims"], strict=True)
    ):
        positions = (model.img_size // (4 * 2**stage)) ** 2
        pass_s = _BYTES * dim * positions / ceilings.bytes_per_second
        product = 2 * positions * dim * 4 * dim
        product_s = max(product / ceilings.flops, _PRODUCT_PASSES * pass_s)
        count = wide_passes if dim > EPILOGUE_DIMS else narrow_passes
        total += depth * (count * pass_s + _PRODUCTS * product_s)
        operations += depth * _PRODUCTS * product
    # Stem, downsampling and head.
    return total + max(model.training_flops - operations, 0.0) / ceilings.flops


def map_bytes(model: KnownModel) -> int:
    """Of one image's maps, one in each block, in bf16."""
    sizes = zip(model.settings["depths"], model.settings["dims"], strict=True)
    return sum(
        _BYTES * depth * dim * (model.img_size // (4 * 2**stage)) ** 2
        for stage, (depth, dim) in enumerate(sizes)
    )


def roof(model: KnownModel, ceilings: Ceilings, passes_of_block: float = GOAL) -> float:
    """Images per second that no training of so many passes can exceed."""
    elementwise = passes_of_block - _PRODUCTS * _PRODUCT_PASSES
    return 1 / seconds_per_image(model, elementwise, elementwise, ceilings)


def known(size: str) -> KnownModel:
    """The row of configs/<size>.yaml in the table of forecasts."""
    return next(row for row in table().models if row.config == f"{size}.yaml")


def rows(
    ceilings: Ceilings,
    speeds: Mapping[str, float],
    megabytes: Mapping[str, float],
    reasons: Mapping[str, str | None],
) -> list[dict[str, Any]]:
    """The table: each rung's prediction, measurement and reason, by its name; null is unknown.

    speeds: images per second. megabytes: of an image, for the backward pass.
    """
    return [_row(one, ceilings, speeds, megabytes, reasons) for one in predictions()]


def _row(
    one: Prediction,
    ceilings: Ceilings,
    speeds: Mapping[str, float],
    megabytes: Mapping[str, float],
    reasons: Mapping[str, str | None],
) -> dict[str, Any]:
    name, model = one.rung.name, known(one.rung.model)
    limit = 1 / seconds_per_image(model, one.passes, one.narrow_passes, ceilings)
    speed, products = speeds.get(name), _PRODUCTS * _PRODUCT_PASSES
    counts = sorted({products + one.narrow_passes, products + one.passes})
    return {
        "rung": name,
        "passes": counts[0] if len(counts) == 1 else counts,
        "derivation": f"{one.why}; products {products}",
        "roof_images_per_second": round(limit),
        "predicted_images_per_second": round(REACHED * limit),
        "measured_images_per_second": speed,
        "measured_over_predicted": speed and round(speed / (REACHED * limit), 3),
        "predicted_megabytes_per_image": one.kept_maps
        and round(one.kept_maps * map_bytes(model) / 1e6, 1),
        "measured_megabytes_per_image": megabytes.get(name),
        "reason": reasons.get(name),
    }


def figures(
    ceilings: Ceilings,
    speeds: Mapping[str, float],
    megabytes: Mapping[str, float],
    reasons: Mapping[str, str | None],
) -> dict[str, Any]:
    """All that the file of predictions holds; see ``rows``."""
    return {
        "model": "PoolFormer-M48, 224 px, bf16",
        "batch": rungs.BATCH,
        "ceilings": {
            "tflops_of_a_bf16_product": round(ceilings.flops / 1e12, 1),
            "terabytes_per_second_of_a_copy": round(ceilings.bytes_per_second / 1e12, 3),
            "are_measured": ceilings != ASSUMED,
        },
        "predicted_is": f"{REACHED} of the roof",
        "goal": {
            "passes": GOAL,
            "roof_images_per_second": round(roof(known(rungs.MODEL), ceilings)),
        },
        "rungs": rows(ceilings, speeds, megabytes, reasons),
    }


if __name__ == "__main__":
    write_result(NAME, figures(ASSUMED, {}, {}, {}))
