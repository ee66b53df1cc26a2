"""See, follow, stop and resume runs: python slurm/jobs.py status

RUN is the name of a run, its folder, or the id of one of its Slurm jobs.

examples:
  python slurm/jobs.py status                  what is queued, runs, or ended lately
  python slurm/jobs.py status --watch          the same as a live table
  python slurm/jobs.py logs m48 -f             what rank 0 says, across requeues
  python slurm/jobs.py logs m48 --rank 3       the last lines of another rank
  python slurm/jobs.py cancel m48              end it, and do not queue it again
  python slurm/jobs.py resume m48              submit it again, from its newest checkpoint
  python slurm/jobs.py list                    every run
  python slurm/jobs.py doctor configs/m48.yaml what this machine lacks for a training
  python slurm/jobs.py init                    draft a site profile for this cluster
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.errors import UserError, run_cli
from pipeline.log import info, warn
from pipeline.tracking.run_folder import list_runs
from slurm.records import Stage
from slurm.watch.run_lookup import USUAL_ROOT, Target, find, find_all

_LINES = 50
_SHOWN = "default: all that wait or run, finished ones of the last day, others that ended this week"


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    args = _parser(words[:1] == ["doctor"]).parse_args(words)
    root = getattr(args, "runs_root", USUAL_ROOT)
    if root != USUAL_ROOT and not Path(root).is_dir():
        raise UserError(f"--runs-root {root}: there is no such folder; name one that holds runs")
    return args.act(args)


def _status(args: argparse.Namespace) -> int:
    from slurm.watch.background_sync import sync_in_background
    from slurm.watch.settling import settle
    from slurm.watch.status import look, status, watch

    if args.watch:
        watch(lambda: _folders(args), bool(args.runs), sync_in_background)
        return 0
    runs, answer = look(_folders(args))
    settle(runs, answer, time.time())
    status(runs, answer, bool(args.runs), args.json)
    if failure := sync_in_background(runs):
        warn(f"the last upload to MLflow failed: {failure}")
    return 0


def _logs(args: argparse.Namespace) -> int:
    from slurm.watch.run_logs import follow_log, last_job, log_files, show_log, tell_job

    target = find(args.run, args.runs_root)
    folder = target.folder
    job = None if args.stage else target.job_id
    job = job or last_job(folder, args.stage)
    if job is None:
        what = "has never been started" if args.stage is None else f"has no stage {args.stage}"
        raise UserError(f"run {folder.path.name} {what}, so it has no logs")
    if args.json:
        print(json.dumps(log_files(folder, job), indent=2))
        return 0
    tell_job(folder, job)
    if not args.follow:
        show_log(folder, job, args.rank, args.lines)
        return 0
    with contextlib.suppress(KeyboardInterrupt):  # how a person ends this
        is_over = partial(_over, target, args.stage)
        follow_log(folder, job, args.rank, args.lines, is_over, args.stage)
    return 0


def _over(target: Target, stage: Stage | None) -> str | None:
    """What became of a run, or of a stage, that writes no more; None while it may go on."""
    from slurm.watch.run_rows import rows_of
    from slurm.watch.run_state import GOES_ON
    from slurm.watch.status import ASK_EVERY_S, look

    runs, answer = look([target.folder.path], ASK_EVERY_S)
    rows = rows_of(runs[0], answer, time.time())
    rows = [row for row in rows if row.stage == stage] or rows
    # A silent controller is no reason to stop.
    open_words = GOES_ON if answer.is_sure else (*GOES_ON, "unknown")
    if any(row.state in open_words for row in rows):
        return None
    return f"run {rows[-1].run} is over: {', '.join(f'{row.stage} {row.state}' for row in rows)}"


def _cancel(args: argparse.Namespace) -> int:
    from slurm.watch.steering import cancel_runs

    cancel_runs(find_all(args.runs, args.runs_root), args.json)
    return 0


def _resume(args: argparse.Namespace) -> int:
    from slurm.watch.steering import resume

    return resume(find(args.run, args.runs_root), args.json)


def _list(args: argparse.Namespace) -> int:
    from slurm.watch.run_list import list_all

    list_all(list_runs(args.runs_root), args.runs_root, args.json)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from slurm.doctor.command import run

    return run(args)


def _init(args: argparse.Namespace) -> int:
    from slurm.submit.partitions import draft_profile
    from slurm.submit.site_profile import user_folder

    path: Path = args.out or user_folder() / "site.yaml"
    if path.exists() and not args.force:
        raise UserError(f"{path} is there already; --force replaces it, --out names another file")
    text = draft_profile()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(json.dumps({"file": str(path), "profile": text}) if args.json else text.rstrip())
    info(f"wrote {path}")
    info("go through it, partition and account above all; then try it without a job:")
    site = "" if args.out is None else f" --site {path}"
    info(f"  python slurm/launch.py --nodes 2 CONFIG --dry-run{site}")
    return 0


def _folders(args: argparse.Namespace) -> list[Path]:
    if not args.runs:
        return list_runs(args.runs_root)
    found = [target.folder.path for target in find_all(args.runs, args.runs_root)]
    return list(dict.fromkeys(found))


def _parser(is_doctor: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jobs.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    status = verbs.add_parser("status", help="where runs are, in a table")
    status.add_argument("runs", nargs="*", metavar="RUN", help=_SHOWN)
    form = status.add_mutually_exclusive_group()
    form.add_argument("--watch", action="store_true", help="draw it again and again, until Ctrl-C")
    status.set_defaults(act=_status)

    logs = verbs.add_parser("logs", help="what a rank has written")
    logs.add_argument("run", metavar="RUN")
    what = logs.add_mutually_exclusive_group()
    what.add_argument("-f", "--follow", action="store_true", help="go on with what it writes")
    logs.add_argument(
        "--stage", choices=get_args(Stage), help="of a chain; default: the last to begin"
    )
    logs.add_argument("--rank", type=int, default=0, metavar="N", help="default: %(default)s")
    logs.add_argument(
        "--lines", type=_count, default=_LINES, metavar="N", help="last lines (default %(default)s)"
    )
    logs.set_defaults(act=_logs)

    cancel = verbs.add_parser("cancel", help="end runs, and do not queue them again")
    cancel.add_argument("runs", nargs="+", metavar="RUN")
    cancel.set_defaults(act=_cancel)

    resume = verbs.add_parser("resume", help="submit a run again with its own command")
    resume.add_argument("run", metavar="RUN")
    resume.set_defaults(act=_resume)

    every = verbs.add_parser("list", help="every run, the newest last")
    every.set_defaults(act=_list)
    for verb in (status, logs, cancel, resume, every):
        verb.add_argument("--runs-root", default=USUAL_ROOT, help="default: %(default)s")
    for verb in (form, what, cancel, resume, every):
        verb.add_argument("--json", action="store_true", help="JSON on stdout")
    _add_cluster_verbs(verbs, is_doctor)
    return parser


def _add_cluster_verbs(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", is_doctor: bool
) -> None:
    doctor = verbs.add_parser("doctor", help="what this machine, or N nodes, lack for a training")
    if is_doctor:
        # Half of the time that other verbs take to answer.
        from slurm.doctor.command import add_arguments

        add_arguments(doctor)
    doctor.set_defaults(act=_doctor)
    init = verbs.add_parser("init", help="draft a site profile from what sinfo says")
    init.add_argument("--out", type=Path, metavar="FILE", help="default: ~/.config/.../site.yaml")
    init.add_argument("--force", action="store_true", help="replace the file")
    init.add_argument("--json", action="store_true", help="JSON on stdout")
    init.set_defaults(act=_init)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


if __name__ == "__main__":
    run_cli(main)
