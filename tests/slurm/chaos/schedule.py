"""When which fault comes: drawn once, from a seed."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Appointment:
    """A fault that is due."""

    kind: str
    step: int | None
    """Once so many steps are done, and the job trains; None: while it starts after the last one."""
    delay_s: float
    """And so much later: within steps, evaluations and saving alike."""


def appointments(
    rng: random.Random,
    kinds: Sequence[str],
    steps: int,
    early: Collection[str] = (),
    hasty: Sequence[str] = (),
    most_delay_s: float = 0.5,
    hurry_s: tuple[float, float] = (3, 20),
) -> list[Appointment]:
    """Each kind once, in random order, at random steps below ``steps``, never two at the same.

    early: kinds that come in the first half alone, since what they break takes its time to mend.
    hasty: kinds that come besides, each at a random place and soon after the one before it.
    """
    kinds = list(kinds)
    while True:
        rng.shuffle(kinds)
        if not set(early) & set(kinds[(len(kinds) + 1) // 2 :]):
            break
    at = sorted(rng.sample(range(2, steps), len(kinds)))
    drawn = [
        Appointment(kind, step, rng.uniform(0, most_delay_s))
        for kind, step in zip(kinds, at, strict=True)
    ]
    for kind in hasty:
        place = rng.randint(1, len(drawn))
        drawn.insert(place, Appointment(kind, None, rng.uniform(*hurry_s)))
    return drawn
