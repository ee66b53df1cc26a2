"""Speed of the image loader beside its peers, in one run.

python tests/benchmarks/loader/contest.py PHOTOS [--only NAMES] [--rounds N] [--batches N]
                                                 [--tmp DIR] [--peers VENV]

PHOTOS is a folder with class folders of JPEGs. They are copied until one epoch is longer than what
is measured, so that nobody starts or ends an epoch meanwhile. All contestants read the same copies
from DIR, a tmpfs, in random order, and give batches of 64 at 224 pixels. Each lap is a process of
its own on the same two CPUs, with two threads or workers, and nothing consumes its batches. A
warm-up starts workers, fills queues and compiles FFCV's code; then the time is taken until so many
batches more have come. The contestants take turns, each round begins with another, and a ratio is
that of two laps of the same round. The CPU time of a lap is noted beside it: where it is far
from twice the time, something else was running too, or the contestant left a CPU idle.

What is not equal. FFCV and this project decode with libjpeg-turbo's fast, less exact DCT, the
others with its exact one. FFCV decodes whole photographs and shrinks the crop by area; all others
shrink with an antialiased bilinear filter in crop + flip. FFCV's writer encodes every JPEG anew in
quality 90 with 4:2:0 chroma, which are other pixels and cheaper to decode: `ffcv-own` reads those,
`ffcv` the files as they are. torchvision and timm decode with PIL in worker processes, from class
folders. timm gives normalised float32, as this project does with the full recipe; otherwise images
are uint8. DALI's reader shuffles in a buffer of 1,024; its rand_augment is another policy than
timm's and is not followed by mixup, cutmix and erasing. This project alone draws the same numbers
on any ranks. `decode` decodes whole photographs, exactly, and that is all.

FFCV is looked for in VENV, .venv-peers, which `make bench-loader` builds; without it the result
says that it is not installed. With --only the figures are printed and not recorded.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])

from tests.benchmarks.loader.contestants import CONTESTANTS
from tests.benchmarks.loader.material import BATCH, SIDE, WORKERS, Material, make_material
from tests.benchmarks.record import ROOT, summary, write_result

_WARM_UP = 8
_BEYOND = 8
"""Batches that an epoch has after those measured: workers must not run dry at the end."""

# Ours, theirs, and how many times as fast ours should be; None: for information.
_PAIRS = (
    ("ours", "ffcv", 1.0),
    ("ours", "ffcv-own", 1.0),
    ("ours", "torchvision", 1.5),
    ("ours", "timm", 1.6),
    ("ours", "dali", 1.1),
    ("ours", "decode", None),
    ("ours-full", "timm-full", 1.3),
    ("ours-full", "dali-full", None),
)
# Per contestant the answers of its laps: ``seconds`` and ``cpu_seconds``.
Laps = dict[str, list[dict[str, float]]]
_PACKAGES = ("torch", "torchvision", "timm", "pillow", "simplejpeg", "nvidia-dali-cuda130")


def main() -> None:
    args = parsed()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    names = list(CONTESTANTS) if args.only is None else args.only
    images = (_WARM_UP + args.batches + _BEYOND) * BATCH
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        material, size = make_material(args.photos, Path(folder), images)
        answers = {name: ask(name, material, args.peers, "ready") for name in names}
        laps = contest(names, answers, material, args)
    figures = {
        "images": images,
        "bytes": size,
        "batch": BATCH,
        "side": SIDE,
        "workers": WORKERS,
        "rounds": args.rounds,
        "images_of_the_warm_up": _WARM_UP * BATCH,
        "images_measured": args.batches * BATCH,
        "images_per_second": rates(laps, args.batches * BATCH),
        "cpu_milliseconds_per_image": costs(laps, args.batches * BATCH),
        "not_installed": {
            CONTESTANTS[name].title: answer["not_installed"]
            for name, answer in answers.items()
            if "not_installed" in answer
        },
        "speed_of_ours": ratios(laps),
        "written_bytes": {
            CONTESTANTS[name].title: answer["written_bytes"]
            for name, answer in answers.items()
            if answer.get("written_bytes")
        },
        "versions_of_peers": {
            package: version
            for answer in answers.values()
            for package, version in answer.get("versions", {}).items()
        },
    }
    if args.only is None:
        write_result("loader", figures, _PACKAGES)
    else:
        print(json.dumps(figures, indent=1))
    tell(figures)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--only", metavar="NAMES", type=known, help=", ".join(CONTESTANTS))
    parser.add_argument("--rounds", type=int, metavar="N", default=5)
    parser.add_argument("--batches", type=int, metavar="N", default=40, help="measured")
    parser.add_argument("--tmp", type=Path, metavar="DIR", default=Path("/dev/shm"))
    parser.add_argument("--peers", type=Path, metavar="VENV", default=ROOT / ".venv-peers")
    return parser.parse_args()


def known(names: str) -> list[str]:
    """Comma-separated names of contestants. Raises ArgumentTypeError for others."""
    asked = names.split(",")
    strangers = [name for name in asked if name not in CONTESTANTS]
    if strangers:
        raise argparse.ArgumentTypeError(
            f"no contestant is called {', '.join(strangers)}; there are {', '.join(CONTESTANTS)}"
        )
    return asked


def contest(
    names: list[str],
    answers: dict[str, dict[str, Any]],
    material: Material,
    args: argparse.Namespace,
) -> Laps:
    """What each lap took, of those that are installed."""
    present = [name for name in names if "not_installed" not in answers[name]]
    laps: Laps = {name: [] for name in present}
    for number in range(args.rounds):
        for place in range(len(present)):
            name = present[(number + place) % len(present)]
            lap = ask(name, material, args.peers, "lap", str(_WARM_UP), str(args.batches))
            laps[name].append(lap)
            rate = args.batches * BATCH / lap["seconds"]
            print(f"{number + 1}/{args.rounds} {name}: {rate:.0f} images/s", file=sys.stderr)
    return laps


def ask(name: str, material: Material, peers: Path, *action: str) -> dict[str, Any]:
    """The answer of a contestant's process."""
    python = peers / "bin" / "python"
    if not CONTESTANTS[name].packages or not python.exists():
        python = Path(sys.executable)
    lap = Path(__file__).with_name("lap.py")
    command = [str(python), str(lap), name, str(material.folder), *action]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rates(laps: Laps, images: int) -> dict[str, Any]:
    return {
        CONTESTANTS[name].title: summary([images / lap["seconds"] for lap in own], 0)
        for name, own in laps.items()
    }


def costs(laps: Laps, images: int) -> dict[str, Any]:
    """Less disturbed than the time by what else runs on the machine."""
    return {
        CONTESTANTS[name].title: summary([1000 * lap["cpu_seconds"] / images for lap in own], 2)
        for name, own in laps.items()
    }


def ratios(laps: Laps) -> dict[str, Any]:
    """Their time over ours, round by round, and whether the median reaches the target."""
    found: dict[str, Any] = {}
    for ours, theirs, target in _PAIRS:
        if ours not in laps or theirs not in laps:
            continue
        rounds = list(zip(laps[theirs], laps[ours], strict=True))
        ratio, in_cpu_time = (
            summary([their[clock] / our[clock] for their, our in rounds])
            for clock in ("seconds", "cpu_seconds")
        )
        if target is not None:
            ratio |= {"target": target, "met": ratio["median"] >= target}
        ratio["in_cpu_time"] = in_cpu_time
        found[f"{CONTESTANTS[ours].title} over {CONTESTANTS[theirs].title}"] = ratio
    return found


def tell(figures: dict[str, Any]) -> None:
    """The outcome in a line per ratio, for whoever watches."""
    for title, package in figures["not_installed"].items():
        print(f"{title}: {package} is not installed; make .venv-peers/.installed", file=sys.stderr)
    for pair, ratio in figures["speed_of_ours"].items():
        verdict = ""
        if "target" in ratio:
            verdict = f", target {ratio['target']}: {'met' if ratio['met'] else 'not met'}"
        cpu = ratio["in_cpu_time"]["median"]
        print(f"{pair}: {ratio['median']} times (CPU time: {cpu}){verdict}", file=sys.stderr)


if __name__ == "__main__":
    main()
