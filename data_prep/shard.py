"""Shard ImageNet, in whatever form it lies there, into checked, indexed WebDataset tars.

python data_prep/shard.py SOURCE [OUT] [options]
"""

import argparse
import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

if not __package__:  # run as a script: imports are absolute
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until main watches for it, just end
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data_prep.arguments import positive
from data_prep.budget import DEFAULT_MAX_BAD, parse_max_bad
from data_prep.job import Outcome
from data_prep.labels import class_list
from data_prep.shard_plan import DEFAULT_QUALITY, Reencode
from data_prep.sharding import Request, shard_source
from data_prep.sources.detect import LAYOUTS
from data_prep.stop_signals import Stopped, stop_signals
from data_prep.summary import as_json, as_text
from data_prep.terminal import Terminal
from pipeline.errors import UserError, run_cli
from pipeline.log import info

_DEFAULT_MINUTES = 240

_GETTING_IMAGENET = """\
Getting ImageNet (ILSVRC2012, 1,281,167 + 50,000 images, 145 GB), and what SOURCE then is:
  image-net.org   register, then download ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
                  ILSVRC2012_devkit_t12.tar.gz: SOURCE is their folder; nothing is unpacked
  Kaggle          accept the rules of "ImageNet Object Localization Challenge", unpack its zip:
                  SOURCE is the folder with ILSVRC/ and LOC_val_solution.csv
  Hugging Face    accept the terms of the data set imagenet-1k, download its data/*.parquet:
                  SOURCE is their folder
  as folders      train/<class>/*.JPEG and val/<class>/*.JPEG, or one folder of class folders
  as shards       WebDataset tars of .jpg and .cls, to be written anew
"""


def main() -> int:
    """Run the command; returns the exit code."""
    parser = _parser()
    if len(sys.argv) == 1:
        parser.print_usage(sys.stderr)
        print(f"\n{_GETTING_IMAGENET}", file=sys.stderr, end="")
        return UserError.exit_code
    args = parser.parse_args()
    if args.quality is not None and args.max_side is None:
        raise UserError("--quality is that of images that --max-side scales down; say both")
    request = Request(
        source=args.source,
        out=args.out,
        layout=args.layout,
        split=args.split,
        name=args.name,
        classes=None if args.classes is None else class_list(args.classes),
        allow_partial=args.allow_partial,
        seed=args.seed,
        shards=args.shards,
        samples_per_shard=args.samples_per_shard,
        max_bad=DEFAULT_MAX_BAD if args.max_bad is None else parse_max_bad(args.max_bad),
        check=args.check,
        reencode=_reencode(args.max_side, args.quality),
        strict_labels=args.strict_labels,
        workers=args.workers,
    )
    if args.nodes is not None:
        return _submit(request, args)
    if args.time is not None:
        raise UserError("--time is that of the Slurm jobs that --nodes submits; say both")
    terminal = Terminal()
    began = time.monotonic()
    try:
        with stop_signals():
            outcome = shard_source(request, terminal)
            seconds = time.monotonic() - began
            report = _report(outcome) if args.report else None
    except Stopped as stop:
        terminal.close()
        info(f"{stop}; whole shards are kept: run the same command again to continue")
        return stop.exit_code
    finally:
        terminal.close()
    if args.json:
        print(json.dumps(as_json(outcome, seconds)))
    else:
        info(as_text(outcome, seconds))
    if report is not None:
        info(f"report: {report}")
    return 0


def _report(outcome: Outcome) -> Path:
    # Only for those who ask: it takes a moment to import.
    from data_prep.reporting.report import write_report

    return write_report(outcome.out, outcome.manifest)


def _submit(request: Request, args: argparse.Namespace) -> int:
    # submitit is for clusters alone.
    from data_prep.job_array import Submitted, submit_sharding

    where = (args.nodes, args.workers, args.time or _DEFAULT_MINUTES)
    done = submit_sharding(request, Terminal(), *where, with_report=args.report)
    if not isinstance(done, Submitted):
        print(json.dumps(as_json(done, 0.0))) if args.json else info(as_text(done, None))
        return 0
    if args.json:
        print(json.dumps({k: str(v) for k, v in dataclasses.asdict(done).items()}))
        return 0
    info(f"submitted job array {done.array} for {done.shards} shards; job {done.last} finishes it")
    info(f"watch: squeue -j {done.array},{done.last}; tail -f {done.logs}/*.out")
    return 0


def _reencode(max_side: int | None, quality: int | None) -> Reencode | None:
    return None if max_side is None else Reencode(max_side, quality or DEFAULT_QUALITY)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shard.py",
        allow_abbrev=False,
        description="Shard ImageNet into checked, indexed WebDataset tars. Run it again to "
        "continue, or to repair what is missing.",
        epilog=_GETTING_IMAGENET,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", type=Path, help="see below")
    add("out", metavar="OUT", type=Path, nargs="?", help="where to write (default: shards/NAME)")
    _add_source_options(parser)
    _add_shard_options(parser)
    _add_run_options(parser)
    return parser


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what SOURCE is").add_argument
    add("--layout", choices=list(LAYOUTS), help="default: what is found there")
    add("--split", choices=["train", "validation"], help="that alone; or what class folders are")
    add(
        "--classes",
        metavar="LIST",
        help="labels count in this list: imagenet1k, or a file with a class per line (default: the "
        "classes present, sorted)",
    )
    add(
        "--allow-partial",
        action="store_true",
        help="ImageNet with classes or images missing is meant to be so",
    )
    add("--max-bad", metavar="N", help=f"files or fraction, 5 or 0.5%% (default: {_DEFAULT_BAD})")
    add("--strict-labels", action="store_true", help="names against their folder's wnid are fatal")
    add(
        "--check",
        choices=["full", "header"],
        default="full",
        help="full: every image is decoded once, with DALI's word as the last; header: only sizes "
        "are read (default: full)",
    )


def _add_shard_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the shards are")
    add = group.add_argument
    add("--name", help="dataset name (default: imagenet1k for its wnids, else from SOURCE)")
    add("--seed", type=_seed, default=0, metavar="S", help="of the order of train (default: 0)")
    add_count = group.add_mutually_exclusive_group().add_argument
    add_count(
        "--shards", type=positive, metavar="N", help="per split (default: ImageNet: 1024 and 64)"
    )
    add_count("--samples-per-shard", type=positive, metavar="N", help="instead of --shards")
    add(
        "--max-side",
        type=positive,
        metavar="N",
        help="scale images with a longer side down to it (default: bytes stay as they are)",
    )
    add(
        "--quality",
        type=_quality,
        metavar="Q",
        help=f"of these as JPEG, 1 to 100 (default: {DEFAULT_QUALITY})",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it is done and told").add_argument
    add("--workers", type=positive, metavar="N", help="processes (default: the CPUs at hand)")
    add(
        "--nodes",
        type=positive,
        metavar="N",
        help="submit a Slurm job array of N tasks, each with --workers CPUs (default: whole nodes)",
    )
    add(
        "--time",
        type=positive,
        metavar="MIN",
        help=f"limit of these jobs, after which they queue again (default: {_DEFAULT_MINUTES})",
    )
    add("--report", action="store_true", help="write OUT/report.html: the data on one page")
    add("--json", action="store_true", help="print the summary as JSON on stdout")


_DEFAULT_BAD = DEFAULT_MAX_BAD.text.replace("%", "%%")


def _quality(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**64):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**64 - 1")
    return int(text)


if __name__ == "__main__":
    run_cli(main)
