"""What the ranks exchange in a step, by ZeRO stage; pure. Counted by tests/benchmarks/parity."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Config
from pipeline.plan.counts import Plan
from pipeline.plan.network import Collective

BUCKET_ELEMENTS = 2**24
"""Gradients that are reduced at once. DeepSpeed's 5e8 would be a buffer of 2 GB in fp32, larger
than any model here, so that nothing was reduced before the backward pass had ended."""


@dataclass(frozen=True)
class Exchange:
    """What decides the traffic of a step."""

    parameters: int
    """That training changes."""
    zero_stage: Literal[0, 1, 2, 3]
    slots: int
    weight_bytes: int
    reduction_bytes: int = 4
    """Of a gradient under way: fp32, whatever the weights are."""
    overlaps: bool = False
    """The reduction, with the backward pass."""
    bucket_elements: int = BUCKET_ELEMENTS

    @property
    def reduction(self) -> Collective:
        """Of gradients: all-reduce, from stage 3 on reduce-scatter; from stage 2 on in every slot.

        DeepSpeed 0.19 all-reduces at stages 1 and 2 too, where ZeRO (arXiv 1910.02054, section 7)
        needs a reduce-scatter only.
        """
        times = self.slots if self.zero_stage >= 2 else 1
        return Collective(
            "reduce_scatter" if self.zero_stage == 3 else "all_reduce",
            self.parameters * self.reduction_bytes * times,
            -(-self.parameters // self.bucket_elements) * times,
            self.overlaps,
        )

    @property
    def gathering(self) -> Collective | None:
        """Of weights: once after the update; at stage 3 in every slot, a bound from above.

        There, tensors of fewer than 100,000 numbers stay on every rank and go round once a step.
        """
        if self.zero_stage == 0:
            return None
        times = self.slots if self.zero_stage == 3 else 1
        # A call for the weights with decay and one for those without.
        payload = self.parameters * self.weight_bytes * times
        return Collective("all_gather", payload, 2 * times, overlaps=False)

    @property
    def collectives(self) -> tuple[Collective, ...]:
        gathering = self.gathering
        return (self.reduction,) if gathering is None else (self.reduction, gathering)

    def sent_bytes(self, ranks: int) -> float:
        """Per rank and step, where every collective runs in a ring."""
        return sum(collective.sent_bytes(ranks) for collective in self.collectives)


def exchange_of(config: Config, plan: Plan, parameters: int) -> Exchange:
    """As pipeline/engine/settings.py sets DeepSpeed."""
    stage = config.engine.zero_stage
    return Exchange(
        parameters=parameters,
        zero_stage=stage,
        slots=plan.slots,
        weight_bytes=2 if config.engine.dtype == "bf16" else 4,
        # Stage 0 reduces after the backward pass, whatever it is told.
        overlaps=plan.slots == 1 and stage > 0 and config.device == "cuda",
    )
