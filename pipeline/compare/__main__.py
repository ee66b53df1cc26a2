"""Put runs side by side: the settings that differ, and what came of them."""

import argparse
import json
from collections.abc import Sequence

from pipeline.compare.runs import Run, load_runs
from pipeline.compare.table import (
    as_json,
    markdown_table,
    result_rows,
    setting_rows,
    terminal_table,
    verdict,
)
from pipeline.errors import run_cli
from pipeline.log import console
from pipeline.tracking.run_folder import resolve_run

SETTINGS_TITLE = "Settings that differ"
RESULTS_TITLE = "Results"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="name of a run, or its folder")
    parser.add_argument("--runs-root", default="runs", help="default: %(default)s")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON on stdout")
    form.add_argument("--md", action="store_true", help="Markdown on stdout")
    args = parser.parse_args(arguments)
    runs = load_runs([resolve_run(run, args.runs_root) for run in args.runs])
    if args.json:
        print(json.dumps(as_json(runs), indent=2, allow_nan=False))
    elif args.md:
        _print_markdown(runs)
    else:
        _print_tables(runs)
    return 0


def _print_tables(runs: list[Run]) -> None:
    out = console(stderr=False)
    names = [run.name for run in runs]
    settings = setting_rows(runs)
    if settings:
        out.print(terminal_table(SETTINGS_TITLE, settings, names), soft_wrap=False)
    elif len(runs) > 1:
        out.print("The settings are the same in all runs.", markup=False)
    out.print(terminal_table(RESULTS_TITLE, result_rows(runs), names), soft_wrap=False)
    out.print(verdict(runs), markup=False)


def _print_markdown(runs: list[Run]) -> None:
    names = [run.name for run in runs]
    if settings := setting_rows(runs):
        print(f"### {SETTINGS_TITLE}\n\n{markdown_table(settings, names)}\n")
    print(f"### {RESULTS_TITLE}\n\n{markdown_table(result_rows(runs), names)}\n\n{verdict(runs)}")


if __name__ == "__main__":
    run_cli(main)
