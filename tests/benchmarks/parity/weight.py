"""Memory per rank beside the formula, and bytes sent per step. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.benchmarks.parity.cases import Case
from tests.benchmarks.parity.judge import Check
from tests.benchmarks.parity.results import Outcome

_STATE_BYTES = 12
"""Per parameter: master and two moments in fp32."""
PADDING = 0.2
"""Of the formula: parts are padded, and stage 3 keeps small parameters whole on every rank."""
INSTANTS = ("before_reduction", "before_update", "between_steps")


def formula_bytes_per_parameter(case: Case) -> float:
    """ZeRO's formula (Rajbhandari et al., arXiv 1910.02054, section 3) for the dtypes in use.

    With bf16 weights and gradients it is 16, 4 + 12/N, 2 + 14/N and 16/N for N ranks.
    """
    weight = 4 if case.dtype == "fp32" else 2
    gradient = 4 if case.accumulates else weight
    # Without ZeRO fp32 weights are their own masters; DeepSpeed's ZeRO copies them.
    state = _STATE_BYTES - (4 if case.dtype == "fp32" and case.zero_stage == 0 else 0)
    parts = (weight, gradient, state)
    whole = 3 - case.zero_stage  # on every rank; each stage splits one more, from the last on
    return sum(parts[:whole]) + sum(parts[whole:]) / case.world


def known_extra(case: Case) -> float:
    """Bytes per parameter that DeepSpeed holds beyond the formula.

    Its BF16_Optimizer keeps the bf16 gradient of a micro-batch beside the fp32 sum.
    """
    return 2.0 if (case.dtype, case.zero_stage, case.accumulates) == ("bf16", 1, True) else 0.0


def memory_checks(outcomes: Mapping[Case, Outcome]) -> Iterator[Check]:
    """The peak is that of the formula, without DeepSpeed's buckets."""
    for row, case in zip(table(outcomes), outcomes, strict=True):
        over = row["peak"] / (row["formula"] + known_extra(case)) - 1
        yield Check("memory beyond the formula", case.name, over, PADDING)


def table(outcomes: Mapping[Case, Outcome]) -> list[dict[str, Any]]:
    """A row per weighed case, in bytes per parameter."""
    return [_row(case, outcome.facts) for case, outcome in outcomes.items()]


def _row(case: Case, facts: Mapping[str, Any]) -> dict[str, Any]:
    count = facts["parameters"]
    held = {name: facts["bytes"][name] / count for name in INSTANTS}
    formula = formula_bytes_per_parameter(case)
    peak = max(held.values())
    return {
        "case": case.name,
        "formula": round(formula, 2),
        "peak": round(peak, 2),
        "peak_over_formula": round(peak / formula, 3),
        **{name: round(value, 2) for name, value in held.items()},
        "bucket_mb": round(facts["bucket_bytes"] / 1e6),
        "payload_per_step": {n: round(b / count, 2) for n, b in facts["payload_bytes"].items()},
        "sent_per_rank_in_a_ring": round(facts["ring_bytes"] / count, 2),
    }
