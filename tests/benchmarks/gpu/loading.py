"""How many images per second the loader feeds to a GPU, and whether its memory grows.

python -m tests.benchmarks.gpu.loading [--budget-s S] [--memory-s S] [--photos DIR] [--out DIR]
                                       [--device cpu --smoke]

The real loader with M48's whole recipe over shards in memory, up to normalised images on the
device that nobody takes; with GPU decode and one setting after the other changed, and with CPU
decode. Beside it DALI alone with its own random crop and RandAugment (no mixing, no erasing,
numbers that depend on the run), and its decoding alone, of whole images. Then the memory of host
and device while the reference runs: for 60 s at least, and as long as the budget lasts. A slow leak
shows in three minutes: --memory-s 180 --budget-s 300. A lap is three windows; the CPU time is this
process's.
Writes gpu-loading.json after every part; what does not fit into the budget is left out and named.
What the training takes in is read from gpu-training.json, where that is of the same GPU.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from tests.benchmarks.gpu.command import parsed, parser_of
from tests.benchmarks.gpu.device import PACKAGES
from tests.benchmarks.gpu.loading_cases import ON_CPU, REFERENCE, Case, batches, cases
from tests.benchmarks.gpu.loading_laps import growth, lap
from tests.benchmarks.gpu.loading_peers import bare_dali, decode_alone
from tests.benchmarks.gpu.photographs import make_shards, roomy_folder
from tests.benchmarks.record import write_result

NAME = "gpu-loading"
TARGET = 1.5
"""Times what the training takes in."""
LONG_S = 180
"""Of watching the memory, to tell a slow leak."""
_IMAGES = 20_000
_SEED = 8
_NEEDS_S = 9.0
"""Of a case: its pipeline's start, warm-up and windows."""

Stream = Callable[[Case, Path, str], Iterator[int]]
# DALI's own share for the hardware is 0.65.
PEERS: dict[str, tuple[Stream, float]] = {
    "DALI alone": (bare_dali, 0.65),
    "decoding alone": (decode_alone, 0.65),
    "decoding alone, hardware": (decode_alone, 1.0),
}


def main() -> int:
    args = arguments()
    facts = args.gpu
    ends_at_s = time.monotonic() + args.budget_s
    figures: dict[str, Any] = {
        "is_smoke": args.smoke,
        "training_images_per_second": taken_in(args.out, facts.get("gpu")),
        "cases": [],
        "peers": [],
        "memory": None,
        "verdicts": {},
        "left_out": {},
        "failed": {},
    }

    def save() -> None:
        figures["verdicts"] = verdicts(figures)
        options = {"device": facts, "folder": args.out, "is_printed": False}
        write_result(NAME, figures, PACKAGES, **options)

    images = 24 if args.smoke else _IMAGES
    place = args.tmp or roomy_folder(images)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        try:
            shards = make_shards(Path(folder), images, _SEED, args.photos)
        except DataError as error:
            print(f"error: no shards to load: {error}", file=sys.stderr)
            return error.exit_code
        figures["images"], figures["is_in_memory"] = images, place == Path("/dev/shm")
        figures["bytes"] = sum(tar.stat().st_size for tar in shards.glob("*.tar"))
        measure(figures, shards, args, ends_at_s, save)
    print(text(figures))
    return 1 if figures["failed"] else 0


def measure(
    figures: dict[str, Any],
    shards: Path,
    args: argparse.Namespace,
    ends_at_s: float,
    save: Callable[[], None],
) -> None:
    """All laps, and then the memory; ``save`` after each."""
    todo = cases(args.device, args.smoke)
    first = todo[0]
    laps: list[tuple[str, Case, Stream]] = [("cases", case, batches) for case in todo]
    for place, (name, (stream, load)) in enumerate(PEERS.items(), start=2):
        laps.insert(place, ("peers", replace(first, name=name, hw_decoder_load=load), stream))
    warm_up_s, window_s = (0.0, 0.05) if args.smoke else (1.5, 1.0)
    for part, case, stream in laps:
        left_s = ends_at_s - args.memory_s - time.monotonic()
        if left_s < _NEEDS_S and not args.smoke:
            figures["left_out"][case.name] = f"{left_s:.0f} s were left beside the memory's"
        else:
            try:
                found = lap(stream(case, shards, args.device), args.device, warm_up_s, window_s, 3)
            except (RuntimeError, DataError) as error:
                figures["failed"][case.name] = str(error)[:500]
            else:
                figures[part].append(asdict(case) | found)
        save()
    seconds = args.memory_s if args.smoke else max(args.memory_s, ends_at_s - time.monotonic() - 3)
    every_s = 0.05 if args.smoke else 1.0
    figures["memory"] = growth(batches(first, shards, args.device), args.device, seconds, every_s)
    save()


def taken_in(folder: Path, gpu: str | None) -> float | None:
    """Images per second of the fastest training on this GPU, where there is a result of it."""
    path = folder / "gpu-training.json"
    if gpu is None or not path.is_file():
        return None
    result = json.loads(path.read_text())
    if result["machine"].get("device", {}).get("gpu") != gpu:
        return None
    fastest = result["figures"]["fastest"]
    return fastest and fastest["images_per_second"]


def verdicts(figures: dict[str, Any]) -> dict[str, Any]:
    """Ratios of the reference, and what CPUs alone feed; None where something is missing."""
    rows = {row["name"]: row for row in [*figures["cases"], *figures["peers"]]}
    rates = {name: row["images_per_second"]["median"] for name, row in rows.items()}
    ours, need = rates.get(REFERENCE), figures["training_images_per_second"]
    to_training = None if ours is None or need is None else round(ours / need, 3)
    on_cpu = rows.get(ON_CPU)
    per_cpu = on_cpu and 1000 / on_cpu["cpu_milliseconds_per_image"]
    return {
        "to_training": to_training,
        "target": TARGET,
        "is_met": None if to_training is None else to_training >= TARGET,
        **{
            f"to {name}": round(ours / rates[name], 3) if ours and name in rates else None
            for name in PEERS
        },
        "cpu_decode_images_per_second_and_cpu": per_cpu and round(per_cpu),
        "cpus_that_feed_the_training": per_cpu and need and math.ceil(TARGET * need / per_cpu),
    }


def text(figures: dict[str, Any]) -> str:
    """What the end of a run prints."""
    lines = [f"{'':<24}{'img/s':>8}{'CPU ms/img':>12}{'CPUs busy':>11}{'JPEG hardware':>15}"]
    for row in [*figures["cases"], *figures["peers"]]:
        hardware = row["jpeg_hardware_percent"]
        lines.append(
            f"{row['name']:<24}{row['images_per_second']['median']:>8}"
            f"{row['cpu_milliseconds_per_image']:>12.2f}{row['cpus_busy']:>11.2f}"
            f"{'-' if hardware is None else f'{max(hardware)} %':>15}"
        )
    lines += [f"left out: {name} ({why})" for name, why in figures["left_out"].items()]
    lines += [f"failed: {name} ({why})" for name, why in figures["failed"].items()]
    lines += [f"{name}: {value}" for name, value in figures["verdicts"].items()]
    memory = figures["memory"]
    for where in ("host", "device"):
        if memory and memory[where]:
            found = memory[where]
            lines.append(
                f"{where} memory over {memory['seconds']:.0f} s: {found['mb_per_minute']} ± "
                f"{found['standard_error']} MB per minute, {found['most_mb']:.0f} MB at most"
            )
    if memory and not figures["is_smoke"] and memory["seconds"] < LONG_S:
        lines.append(
            f"these are not the three minutes that show a slow leak: --memory-s {LONG_S} "
            "--budget-s 300 watches as long"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = parser_of("python -m tests.benchmarks.gpu.loading", __doc__, budget_s=175.0)
    parser.add_argument("--memory-s", type=float, metavar="S", help="at least (default 60)")
    args = parsed(parser)
    if args.memory_s is None:
        args.memory_s = 0.5 if args.smoke else 60.0
    return args


if __name__ == "__main__":
    sys.exit(main())
