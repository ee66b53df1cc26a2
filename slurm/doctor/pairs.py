"""All-reduces of two nodes at a time: who meets whom, and what the rates say."""

from collections.abc import Mapping, Sequence
from statistics import median

from slurm.doctor.finding import Finding, Verdict, fail, found, ok, warn

CHECK = "all-reduce"
_SLOW = 0.5
"""Of the median of all nodes."""
_SHOWN = 4

Rates = Mapping[int, Mapping[int, float | str]]
"""Per rank: MB/s with each partner, or why there was no exchange."""


def partners(rank: int, size: int) -> list[int | None]:
    """Whom a rank meets in each round; None: nobody.

    All ranks of a round are in pairs that run at once, and each two meet once (the circle method
    of round-robin tournaments).
    """
    seats = size + size % 2
    rounds = seats - 1
    met: list[int | None] = []
    for number in range(rounds):
        if rank == seats - 1:
            # The seat that stays; it meets whoever would have met himself.
            partner = number * (seats // 2) % rounds
        else:
            partner = (number - rank) % rounds
            partner = seats - 1 if partner == rank else partner
        met.append(partner if partner < size else None)
    return met


def judge(rates: Rates, nodes: Sequence[str]) -> list[Finding]:
    """A finding per node that measured; nodes: names by rank."""
    medians = {
        rank: median(numbers) for rank, row in rates.items() if (numbers := _numbers(row.values()))
    }
    usual = median(medians.values()) if medians else 0.0
    return [
        found(CHECK, nodes[rank], _verdict(rank, rates, medians, usual, nodes))
        for rank in sorted(rates)
    ]


def _verdict(
    rank: int, rates: Rates, medians: Mapping[int, float], usual: float, nodes: Sequence[str]
) -> Verdict:
    row = rates[rank]
    failed = {partner: text for partner, text in row.items() if isinstance(text, str)}
    name = nodes[rank]
    if failed:
        # Who fails with one only may be well: that one fails with the others too.
        is_its_own = len(failed) * 2 > len(row) or len(row) == 1
        with_whom = ", ".join(nodes[partner] for partner in list(failed)[:_SHOWN])
        told = f"no exchange with {with_whom}: {next(iter(failed.values()))}"
        if is_its_own:
            return fail(
                told,
                f"see its interface; if that is well, put {name} into the site profile's exclude",
            )
        return warn(told, "see what is said of them")
    if rank not in medians:
        return ok("no other node to exchange with")
    told = f"{medians[rank]:,.0f} MB/s with {_others(row, nodes)}"
    if medians[rank] < _SLOW * usual:
        return warn(
            f"{told}; the usual is {usual:,.0f}, and every step waits for the slowest",
            f"put {name} into the site profile's exclude, and tell the site's staff",
        )
    return ok(told)


def _others(row: Mapping[int, float | str], nodes: Sequence[str]) -> str:
    numbers = {partner: rate for partner, rate in row.items() if not isinstance(rate, str)}
    if len(numbers) == 1:
        return nodes[next(iter(numbers))]
    slowest = min(numbers, key=lambda partner: numbers[partner])
    return f"{len(numbers)} nodes (least with {nodes[slowest]}: {numbers[slowest]:,.0f})"


def _numbers(values: object) -> list[float]:
    return [value for value in values if isinstance(value, float)]  # type: ignore[attr-defined]
