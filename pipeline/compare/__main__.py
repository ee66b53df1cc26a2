"""Put runs side by side: the settings that differ, what came of them, and whether it is noise."""

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pipeline.compare.judging.comparison import Comparison, compare_runs
from pipeline.compare.paper import HELP
from pipeline.compare.reading.selection import add_arguments, select_runs, wanted
from pipeline.compare.run import AXES, Axis, Run
from pipeline.compare.text.rows import CurveChoice
from pipeline.errors import UserError, run_cli
from pipeline.log import console, info
from pipeline.tracking.run_folder import list_runs

DEFAULT_METRICS = ("train/loss", "val/top1")


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    if args.paper is not None:
        if args.html or args.baseline or args.metric or args.x != "step":
            raise UserError("--html, --baseline, --metric and --x do not go with --paper TABLE")
        return _fill_paper(args)
    if args.base is not None or args.svg is not None:
        raise UserError("--base and --svg go with --paper TABLE")
    runs = select_runs(wanted(args))
    choice = CurveChoice(tuple(args.metric) or DEFAULT_METRICS, args.x)
    _check_metrics(args.metric, runs)
    comparison = compare_runs(runs, args.baseline)
    if args.html is not None:
        _write_page(args.html, comparison, args.x)
    _print(args, comparison, choice)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description=__doc__)
    add_arguments(parser)
    parser.add_argument(
        "--x", choices=AXES, default="step", help="axis of the curves; default: %(default)s"
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="KEY",
        help=f"curve to draw, repeatable; default: {', '.join(DEFAULT_METRICS)}",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything as JSON on stdout")
    form.add_argument("--md", action="store_true", help="Markdown on stdout")
    form.add_argument("--csv", action="store_true", help="a row per run on stdout")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page of its own to look at, as well"
    )
    parser.add_argument("--paper", metavar="TABLE", help=HELP)
    parser.add_argument(
        "--base", type=Path, metavar="CONFIG", help="config that the table's rows are built on"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the table's picture")
    return parser


def _print(args: argparse.Namespace, comparison: Comparison, choice: CurveChoice) -> None:
    if args.json:
        from pipeline.compare.text.records import as_json

        print(json.dumps(as_json(comparison, choice), indent=2, allow_nan=False))
    elif args.csv:
        from pipeline.compare.text.records import csv_text

        sys.stdout.write(csv_text(comparison))
    elif args.md:
        from pipeline.compare.text.markdown import markdown

        print(markdown(comparison, choice))
    else:
        from pipeline.compare.text.terminal import print_comparison

        print_comparison(console(stderr=False), comparison, choice)


def _write_page(path: Path, comparison: Comparison, axis: Axis) -> None:
    from pipeline.compare.page import html_page

    page = html_page(comparison, datetime.now(), axis)
    _write(path, page)
    info(f"page: {path} ({len(page.encode()) / 1e6:.1f} MB)")


def _write(path: Path, text: str) -> None:
    from pipeline.durable import write_file

    try:
        write_file(path, text.encode(), survives_power_loss=False)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); name another file"
        ) from None


def _check_metrics(metrics: Sequence[str], runs: Sequence[Run]) -> None:
    """Raises UserError for a metric that no run has."""
    known = dict.fromkeys(key for run in runs for key in run.curves)
    for key in metrics:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise UserError(f"--metric {key!r}: no run has it; {hint}")


def _fill_paper(args: argparse.Namespace) -> int:
    from pipeline.compare.paper import fill

    want = wanted(args)
    # Without any run, each row says so.
    is_empty = want.is_everything and want.store is None and not list_runs(want.runs_root)
    table = fill(args.paper, [] if is_empty else select_runs(want), args.base)
    if args.svg is not None:
        _write(args.svg, table.svg())
        info(f"picture: {args.svg}")
    if args.json:
        print(json.dumps(table.as_json(), indent=2, allow_nan=False))
    elif args.csv:
        sys.stdout.write(table.csv())
    elif args.md:
        print(table.markdown())
    else:
        out = console(stderr=False)
        out.print(table.terminal(), soft_wrap=False)
        for note in table.notes:
            out.print(note, markup=False)
    return 0


if __name__ == "__main__":
    run_cli(main)
