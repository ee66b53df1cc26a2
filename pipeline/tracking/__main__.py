"""Bring runs to MLflow and look at them there."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import PreflightError, UserError, run_cli
from pipeline.log import info, warn
from pipeline.tracking.run_folder import list_runs, read_run_info, resolve_run
from pipeline.tracking.store_uri import (
    URI_VARIABLE,
    StoreUri,
    parse_store,
    runs_page,
    store_of_sync,
)
from pipeline.tracking.ui import check_port, serve

DEFAULT_PORT = 5000
USUAL_ROOT = "runs"


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    if args.verb == "sync":
        return _sync(args)
    if args.verb == "open":
        return _open(args)
    from pipeline.tracking.upload.follow import follow

    return follow(Path(args.run), args.parent)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.tracking", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)

    sync = verbs.add_parser("sync", help="upload what is missing; safe to repeat")
    sync.add_argument("runs", nargs="*", metavar="RUN", help="name of a run, or its folder")
    sync.add_argument("--all", action="store_true", help="every run under --runs-root")
    sync.add_argument("--json", action="store_true", help="JSON on stdout")

    look = verbs.add_parser("open", help="upload what is missing, then start the MLflow UI")
    look.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    for verb in (sync, look):
        verb.add_argument("--runs-root", default=USUAL_ROOT, help="default: %(default)s")
        verb.add_argument(
            "--uri", help=f"MLflow store; else the run's own, ${URI_VARIABLE}, sqlite:///mlflow.db"
        )

    follow = verbs.add_parser("follow", help="what training starts: upload while a run goes on")
    follow.add_argument("run", metavar="RUN_FOLDER")
    follow.add_argument("--parent", type=int, required=True, metavar="PID")
    return parser


def _sync(args: argparse.Namespace) -> int:
    if bool(args.runs) == args.all:
        raise UserError("sync: name runs, or give --all; `python -m pipeline.tracking sync --help`")
    if args.all:
        folders = _runs_under(args.runs_root)
        if not folders:
            raise UserError(f"sync --all: no runs under {args.runs_root}; see --runs-root")
    else:
        folders = [resolve_run(run, args.runs_root) for run in args.runs]
    if failed := _upload(folders, args.uri, args.json):
        raise PreflightError(
            f"{failed}. Nothing is lost: check the address (tracking.uri, ${URI_VARIABLE}, --uri) "
            "and repeat the command"
        )
    return 0


def _upload(folders: list[Path], uri: str | None, as_json: bool = False) -> str:
    """Sync, tell what became of each run, and return what failed."""
    from pipeline.tracking.upload.sync import sync_runs

    results = sync_runs(folders, uri)
    if as_json:
        print(json.dumps([result.as_json() for result in results], indent=2))
    for result in results:
        if result.outcome == "synced":
            info(f"{result.run}: {result.points} points to {result.uri} ({result.status})")
        elif result.outcome == "busy":
            info(f"{result.run}: its own uploader is at work")
        elif result.outcome == "empty":
            info(f"{result.run}: nothing journaled yet")
        elif result.outcome == "deleted":
            warn(f"{result.run}: {result.problem}")
    _say_where_they_live({result.uri for result in results if result.outcome == "synced"}, uri)
    # One line per problem: a server that is down fails all of its runs alike.
    failed: dict[str | None, list[str]] = {}
    for result in results:
        if result.outcome == "failed":
            failed.setdefault(result.problem, []).append(result.run)
    return "; ".join(f"{_some(runs)}: {problem}" for problem, runs in failed.items())


def _say_where_they_live(stores: set[str | None], given: str | None) -> None:
    """A variable that was set after the runs had a store of their own does not move them."""
    variable = os.environ.get(URI_VARIABLE)
    if not variable or given is not None:
        return
    named = parse_store(variable, Path.cwd()).shown
    if elsewhere := sorted(store for store in stores if store not in (None, named)):
        warn(
            f"runs that have been uploaded before keep their store ({', '.join(elsewhere)}), "
            f"whatever ${URI_VARIABLE} says; --uri {named} takes them there"
        )


def _some(runs: list[str]) -> str:
    return runs[0] if len(runs) == 1 else f"{runs[0]} and {len(runs) - 1} more"


def _open(args: argparse.Namespace) -> int:
    folders = _runs_under(args.runs_root)
    store = store_of_sync(args.uri, _latest_uri(folders), os.environ, Path.cwd())
    if not folders and store.sqlite_path is not None and not store.sqlite_path.is_file():
        raise UserError(
            f"open: no runs under {args.runs_root} and no {store.sqlite_path}; train first"
        )
    if not store.is_http:
        check_port(args.port)
    if failed := _upload(folders, args.uri):
        warn(f"not uploaded: {failed}")
    page = _runs_page(folders, store)
    if store.is_http:
        from pipeline.tracking.upload.mlflow_store import MlflowStore

        MlflowStore(store)  # raises where it does not answer
        print(f"{store.shown}{page}")
        return 0
    return serve(store, args.port, page)


def _runs_page(folders: list[Path], store: StoreUri) -> str:
    """What follows the address: the newest run's experiment. MLflow's first page has no runs."""
    known = [read_run_info(folder) for folder in folders]
    there = [facts for facts in known if facts.get("tracking_uri") == store.shown]
    latest = max(there, key=lambda facts: facts.get("created_ms") or 0, default={})
    experiment = latest.get("mlflow_experiment_id")
    return "" if experiment is None else runs_page(experiment)


def _runs_under(runs_root: str) -> list[Path]:
    if runs_root != USUAL_ROOT and not Path(runs_root).is_dir():
        raise UserError(f"--runs-root {runs_root}: there is no such folder; name one that has runs")
    return list_runs(runs_root)


def _latest_uri(folders: list[Path]) -> str | None:
    """The store of the run that was started last, unless the environment names one."""
    if os.environ.get(URI_VARIABLE):
        return None
    known = [read_run_info(folder) for folder in folders]
    stored = [facts for facts in known if facts.get("tracking_uri")]
    latest = max(stored, key=lambda facts: facts["created_ms"], default=None)
    return None if latest is None else latest["tracking_uri"]


if __name__ == "__main__":
    run_cli(main)
