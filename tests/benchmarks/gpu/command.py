"""The command line of both benchmarks: training and loading."""

import argparse
from pathlib import Path

from tests.benchmarks.gpu.device import gpu_facts
from tests.benchmarks.gpu.photographs import photo_folder
from tests.benchmarks.record import RESULTS


def parser_of(prog: str, description: str | None, budget_s: float) -> argparse.ArgumentParser:
    """Flags that both have; budget_s: of all that is measured, by default."""
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny, and nothing measured")
    parser.add_argument(
        "--budget-s", type=float, default=budget_s, metavar="S", help=f"(default {budget_s:g})"
    )
    parser.add_argument("--photos", type=photo_folder, metavar="DIR", help="class folders of JPEGs")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the results")
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="for shards (default: memory)")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was typed, and ``gpu``, the GPU's facts; ends with exit code 2 where it cannot be."""
    args = parser.parse_args()
    for name, value in vars(args).items():
        if name.endswith("_s") and value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} {value:g} must be more than 0")
    if args.device == "cpu" and not args.smoke:
        parser.error("--device cpu needs --smoke: a CPU says nothing about a GPU")
    if args.smoke and args.out is None:
        parser.error("--smoke needs --out DIR: its figures are no results")
    args.out = args.out or RESULTS
    for name in ("out", "tmp"):
        path = getattr(args, name)
        if path is not None and not path.is_dir():
            parser.error(f"--{name} {path} is no folder; make it, or name another")
    args.gpu = gpu_facts()
    if args.device == "cuda" and not args.gpu:
        parser.error(
            "--device cuda, but NVML finds no GPU; check the driver (nvidia-smi), or see that the "
            "code works with --device cpu --smoke"
        )
    return args
