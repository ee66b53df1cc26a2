"""Time limits as sbatch writes them, and how much of one a job can use."""

import re

SAVE_MARGIN_S = 120
"""Seconds between Slurm's warning and the end of the time limit: room for a checkpoint."""
_WARNING_EARLY_S = 60
"""How much earlier than asked for Slurm may warn (sbatch's manual)."""
SHORTEST_MIN = (SAVE_MARGIN_S + _WARNING_EARLY_S) // 60 + 1
"""The shortest limit, in minutes, that leaves time to train."""

_FORMS = re.compile(
    r"(?P<days>\d+)-(?P<day_hours>\d+)(:(?P<day_minutes>\d+)(:(?P<day_seconds>\d+))?)?"
    r"|(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)"
    r"|(?P<only_minutes>\d+)(:(?P<only_seconds>\d+))?"
)


def parse_minutes(text: str) -> int:
    """Minutes of ``MINUTES``, ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM`` or ``D-HH:MM:SS``.

    Seconds round up. Raises ValueError for anything else, and for no time at all.
    """
    seconds = _seconds(text)
    if not seconds:
        raise ValueError(f"{text!r} is no time at all; give at least a minute")
    return -(-seconds // 60)


def in_words(text: str) -> str:
    """``1:30 -> '1 minute 30 seconds'``, so that nobody takes it for hours and minutes."""
    seconds = _seconds(text)
    parts = {"day": seconds // 86400, "hour": seconds // 3600 % 24}
    parts |= {"minute": seconds // 60 % 60, "second": seconds % 60}
    words = [f"{n} {unit}" + ("s" if n != 1 else "") for unit, n in parts.items() if n]
    return " ".join(words) or "no time"


def _seconds(text: str) -> int:
    match = _FORMS.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is no time as sbatch reads it: minutes, HH:MM:SS or D-HH:MM:SS, such as "
            "24:00:00"
        )
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    hours = part["days"] * 24 + part["day_hours"] + part["hours"]
    minutes = part["day_minutes"] + part["minutes"] + part["only_minutes"]
    seconds = part["day_seconds"] + part["seconds"] + part["only_seconds"]
    return hours * 3600 + minutes * 60 + seconds


def show_minutes(minutes: int) -> str:
    """``1500 -> '1-01:00:00'``, as Slurm shows it."""
    days, rest = divmod(minutes, 24 * 60)
    clock = f"{rest // 60:02d}:{rest % 60:02d}:00"
    return f"{days}-{clock}" if days else clock


def working_s(minutes: int) -> int:
    """Seconds of a limit before Slurm's warning at its earliest; the rest is for saving."""
    return minutes * 60 - SAVE_MARGIN_S - _WARNING_EARLY_S
