"""What a run has found so far, and the result that is made of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.plan.known import gpu_named
from tests.benchmarks.gpu import rungs
from tests.benchmarks.gpu.predictions import (
    ASSUMED,
    GOAL,
    Ceilings,
    known,
    roof,
)
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.record import summary

_BUSY = 0.9
"""Share of a step that kernels fill where launching them does not hold them up."""
_TIMM = (rungs.EAGER_TIMM, rungs.EAGER_TIMM_LAST)


@dataclass
class Measured:
    """One rung: laps in their order, and what else was seen. error: why there are no more."""

    rung: Rung
    laps: list[dict[str, float]] = field(default_factory=list)
    starts: dict[str, float] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    is_late: bool = False
    """The error is that an answer took longer than it was allowed to."""

    @property
    def images_per_second(self) -> float | None:
        """Median of the laps."""
        return (
            summary([lap["images_per_second"] for lap in self.laps])["median"]
            if self.laps
            else None
        )


@dataclass
class Findings:
    """All of a run. What was not measured is None, or named in ``left_out`` with the reason."""

    scale: Scale
    gpu: str | None
    ceilings: dict[str, Any] | None = None
    ladder: dict[str, Measured] = field(default_factory=dict)
    sizes: dict[str, Measured] = field(default_factory=dict)
    batches: dict[str, Measured] = field(default_factory=dict)
    decoded: dict[str, Measured] = field(default_factory=dict)
    cached_start: dict[str, float] | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """What each part of the run took."""

    def speeds(self) -> dict[str, float]:
        """Images per second of the ladder's measured rungs, by name."""
        found = {name: one.images_per_second for name, one in self.ladder.items()}
        return {name: speed for name, speed in found.items() if speed is not None}

    def megabytes_per_image(self) -> dict[str, float]:
        """Memory that grows with the batch, of the ladder's measured rungs, by name."""
        rows = {name: self._row(one) for name, one in self.ladder.items()}
        key = "megabytes_per_image"
        return {name: row[key] for name, row in rows.items() if key in row}

    @property
    def limits(self) -> Ceilings:
        """The device's, or those that are assumed."""
        if self.ceilings is None:
            return ASSUMED
        return Ceilings(self.ceilings["flops"], self.ceilings["bytes_per_second"])

    def figures(self) -> dict[str, Any]:
        """As the result file holds them."""
        speeds = self.speeds()
        best = rungs.fastest_of_ours(speeds)
        return {
            "model": "PoolFormer, 224 px, bf16, ZeRO 1, fused AdamW, drop path, mixed targets",
            "is_smoke": self.scale.is_smoke,
            "ceilings": self.ceilings and self._ceilings(),
            "ladder": [self._row(one) for one in self.ladder.values()],
            "fastest": best and {"name": best.name, "images_per_second": speeds[best.name]},
            "ratios": self.ratios(),
            "sizes": [self._row(one) for one in self.sizes.values()],
            "batches": [self._row(one) for one in self.batches.values()],
            "decoded": [self._row(one) for one in self.decoded.values()],
            "compile_start_with_cache": self.cached_start,
            "targets": self.targets(),
            "first_steps_ran": "beside one another and beside the making of shards, save for "
            "compile_start_with_cache",
            "left_out": self.left_out,
            "faults": self.faults(),
            "seconds": self.seconds,
        }

    def ratios(self) -> dict[str, float | None]:
        """Of this project's fastest rungs to timm's, each to the faster of timm's forms."""
        speeds = self.speeds()
        ours = rungs.fastest_of_ours(speeds)
        mine = ours and speeds[ours.name]
        fed, resting = (
            self.decoded[name].images_per_second if name in self.decoded else None
            for name in ("decoded", "synthetic")
        )
        return {
            "to_timm_eager": _over(mine, _best(speeds, _TIMM)),
            "to_timm_compiled": _over(mine, _best(speeds, (rungs.COMPILED_TIMM,))),
            "compiled_to_timm_eager": _over(_best(speeds, (rungs.COMPILED,)), _best(speeds, _TIMM)),
            "decoded_to_synthetic": _over(fed, resting),
        }

    def targets(self) -> list[dict[str, Any]]:
        """What was hoped for, beside what was measured; nothing depends on it.

        Speeds are of any batch from BATCH on, ratios of BATCH.
        """
        if self.scale.is_smoke:
            return []
        ratios = self.ratios()
        compiled = self._fastest(lambda rung: rung.compile_mode is not None)
        kernels = self._fastest(lambda rung: rung.parts is not None)
        return [
            _target("images/s compiled", 2500, *compiled),
            _target("images/s with our kernels", 4000, *kernels),
            _target("times timm eager", 1.8, ratios["to_timm_eager"]),
            _target("times timm compiled", 1.3, ratios["to_timm_compiled"]),
            _target("decoded over synthetic", 0.97, ratios["decoded_to_synthetic"]),
        ]

    def faults(self) -> dict[str, str]:
        """Errors of this project's rungs in the ladder; what was only left out is none."""
        return {
            name: one.error
            for name, one in self.ladder.items()
            if one.error and one.rung.whose == "ours" and name not in self.left_out
        }

    def _fastest(self, is_wanted: Callable[[Rung], bool]) -> tuple[float | None, int]:
        """Images per second of this project's fastest at BATCH or more, and its batch."""
        found = [
            (one.images_per_second, one.rung.batch)
            for one in [*self.ladder.values(), *self.batches.values()]
            if one.rung.whose == "ours" and one.rung.batch >= rungs.BATCH and is_wanted(one.rung)
        ]
        known = [(speed, batch) for speed, batch in found if speed is not None]
        return max(known, default=(None, rungs.BATCH))

    def _ceilings(self) -> dict[str, Any]:
        limits = self.limits
        return {
            "tflops_of_a_bf16_product": round(limits.flops / 1e12, 1),
            "terabytes_per_second_of_a_copy": round(limits.bytes_per_second / 1e12, 3),
            f"images_per_second_of_{GOAL}_passes": round(roof(known(rungs.MODEL), limits)),
            "images_per_second_of_all_operations": round(
                limits.flops / known(rungs.MODEL).training_flops
            ),
            "method": self.ceilings and self.ceilings["method"],
        }

    def _row(self, one: Measured) -> dict[str, Any]:
        rung, speed = one.rung, one.images_per_second
        row: dict[str, Any] = rung.as_json() | {"batch": self.scale.batch_of(rung)}
        if rung.whose == "timm":
            row["deterministic"] = False
        if speed is None:
            return row | {"images_per_second": None, "error": one.error, **one.starts}
        row |= {
            "images_per_second": summary([lap["images_per_second"] for lap in one.laps], 1),
            "milliseconds_per_step": _median(one.laps, "milliseconds_per_step"),
            **({} if self.scale.is_smoke else self._shares(rung, speed)),
            **one.starts,
        }
        if "peak_bytes" in one.laps[0]:
            peak, resting = (_median(one.laps, key) for key in ("peak_bytes", "resting_bytes"))
            row["peak_gigabytes"] = round(peak / 1e9, 2)
            row["megabytes_per_image"] = round((peak - resting) / row["batch"] / 1e6, 2)
        if rung.name == "decoded":
            row["data_wait_pct"] = _median(one.laps, "data_wait_pct")
        if one.profile.get("kernels"):
            busy = one.profile["kernel_milliseconds"] / row["milliseconds_per_step"]
            row["kernels_over_step"] = round(busy, 3)
            row["is_bound_by_launches"] = busy < _BUSY
            row["profile"] = one.profile
        return row if one.error is None else row | {"error": one.error}

    def _shares(self, rung: Rung, speed: float) -> dict[str, float | None]:
        """Of the device's limits; null where a limit is not known."""
        flops = speed * known(rung.model).training_flops
        sheet = gpu_named(self.gpu) if self.gpu else None
        limits = None if self.ceilings is None else self.limits
        return {
            "mfu": sheet and round(flops / sheet.flops["bf16"], 4),
            "of_measured_product": limits and round(flops / limits.flops, 4),
            f"of_roof_of_{GOAL}_passes": limits
            and round(speed / roof(known(rung.model), limits), 4),
        }


def _median(laps: Sequence[dict[str, float]], key: str) -> float:
    return summary([lap[key] for lap in laps])["median"]


def _best(speeds: dict[str, float], among: Sequence[Rung]) -> float | None:
    return max((speeds[rung.name] for rung in among if rung.name in speeds), default=None)


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else round(one / other, 3)


def _target(
    what: str, wanted: float, found: float | None, batch: int = rungs.BATCH
) -> dict[str, Any]:
    verdict = "not measured"
    if found is not None:
        verdict = "met" if found >= wanted else "missed"
    row = {"what": what, "target": wanted, "measured": found, "verdict": verdict}
    return row if found is None else row | {"batch": batch}
