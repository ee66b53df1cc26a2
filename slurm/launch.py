"""Train a config on Slurm or on this machine: python slurm/launch.py --nodes 8 configs/m48.yaml

Flags say where a run goes, section.key=value says what it is. On Slurm this returns at once;
a local run is followed to its end. The same command resumes a run that was stopped.
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.config import load
from pipeline.config.load import BASE_FLAG, BASE_HELP
from pipeline.errors import STOPPED_EXIT_CODE, run_cli
from pipeline.log import info
from pipeline.tracking.run_folder import RunFolder
from slurm.series.chain import parse_chain, train_lacks
from slurm.series.chain_submission import Chain, Source, launch_chain
from slurm.series.sweep import Swept, Variant, expand, parse_seeds, parse_sweep, single_command
from slurm.series.sweep_submission import Sweep, launch_sweep
from slurm.submit import dry_run
from slurm.submit.request import Prepared, Where, prepare
from slurm.submit.site_profile import SITE_FLAGS, load_site
from slurm.submit.time_limit import parse_minutes
from slurm.submit.training import submit_training
from slurm.watch.background_sync import sync_root_in_background
from slurm.watch.run_lookup import typed


def main() -> int:
    args = _parse()
    code = _launch(args)
    if not args.dry_run:
        sync_root_in_background(load(args.configs[0], args.overrides, args.base).config.runs_root)
    return code


def _launch(args: argparse.Namespace) -> int:
    where = _where(args)
    command = shlex.join(["python", "slurm/launch.py", *sys.argv[1:]])
    if args.chain:
        return launch_chain(_chain(args, where, command), args.dry_run, args.json)
    if args.swept or len(args.configs) > 1:
        return launch_sweep(_sweep(args, where), args.dry_run, args.json)
    [config] = args.configs
    prepared = prepare(config, args.overrides, where, args.dry_run, base=args.base)
    is_slurm = prepared.request.cluster == "slurm"
    is_finished = train_lacks(prepared.folder, prepared.plan.total_steps) is None
    if args.dry_run:
        return dry_run.show(prepared, args.json, is_finished)
    if is_slurm and is_finished:
        return _nothing_to_do(prepared, args.json)
    job = submit_training(prepared, command)
    summary = _summary(prepared, job.job_id)
    if is_slurm:
        return _report(prepared.folder, summary, args.json)
    return _follow(prepared, job, summary, args.json)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --seed is not --seeds
    )
    parser.add_argument("words", nargs="+", metavar="CONFIG | section.key=value", help=_WORDS)
    parser.add_argument(BASE_FLAG, metavar="FILE", help=BASE_HELP)
    where = parser.add_argument_group("where it runs")
    where.add_argument(
        "--cluster",
        choices=["auto", "local", "slurm"],
        default="auto",
        help="auto is slurm where sbatch is found, else local",
    )
    where.add_argument(
        "--nodes", type=_count, metavar="N", help="machines (default elastic.max_nodes, else 1)"
    )
    where.add_argument(
        "--gpus-per-node",
        type=_count,
        metavar="N",
        help="GPUs of each (default: the site profile's, else what the partition's nodes have)",
    )
    where.add_argument(
        "--tasks-per-node",
        type=_count,
        metavar="N",
        help="ranks of each (default: one per GPU; without GPUs engine.cpu_tasks)",
    )
    where.add_argument(
        "--time",
        type=_checked(_time),
        metavar="TIME",
        help="limit as sbatch reads it: minutes, HH:MM:SS or D-HH:MM:SS (default: the site "
        "profile's, else 24:00:00); at its end the run is queued again",
    )
    where.add_argument(
        "--site",
        metavar="NAME",
        help="site profile: of slurm/sites or ~/.config/imagenet-pipeline/sites, or a file "
        "(default: ~/.config/imagenet-pipeline/site.yaml)",
    )
    for name in SITE_FLAGS:
        where.add_argument(f"--{name}", metavar="NAME", help=f"instead of the profile's {name}")
    where.add_argument(
        "--after",
        type=_checked(_jobs),
        metavar="JOB",
        help="start when this job (or several, 12:13) has ended well; give up if it fails",
    )
    _add_many(parser)
    parser.add_argument("--name", help="name of the run and its folder, like name=NAME")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_intermixed_args()
    args.configs = [word for word in args.words if "=" not in word]
    args.overrides = [word for word in args.words if "=" in word]
    args.overrides += [f"name={args.name}"] if args.name else []
    args.swept = Swept(args.seeds, tuple(args.sweep))
    if not args.configs:
        parser.error("a config file is needed, such as configs/m48.yaml")
    if args.chain and (args.swept or len(args.configs) > 1):
        parser.error("--chain is of one run: give one config, and neither --seeds nor --sweep")
    if not args.chain and (args.source or args.shard_options):
        parser.error("--source and --shard-options are of the prep stage: --chain prep,...")
    return args


_WORDS = (
    "a config file, such as configs/m48.yaml, or several, a run for each; and settings that go "
    "before the files'"
)


def _add_many(parser: argparse.ArgumentParser) -> None:
    chain = parser.add_argument_group("what comes before and after a training")
    chain.add_argument(
        "--chain",
        type=_checked(parse_chain),
        metavar="STAGES",
        help="prep,train,evaluate or some of them: each starts when the one before has ended "
        "well; the same command again does what is missing",
    )
    chain.add_argument(
        "--source", type=Path, metavar="IMAGES", help="prep: SOURCE of data_prep/shard.py"
    )
    chain.add_argument(
        "--shard-options",
        type=shlex.split,
        metavar="TEXT",
        help="prep: further options of data_prep/shard.py, such as --shard-options='--shards 64'",
    )
    sweep = parser.add_argument_group("several runs, in one MLflow experiment")
    sweep.add_argument(
        "--seeds",
        type=_checked(parse_seeds),
        metavar="N|A,B,...",
        help="a run for each of N seeds from the config's on, or for these",
    )
    sweep.add_argument(
        "--sweep",
        type=_checked(parse_sweep),
        metavar="KEY=V,V,...",
        action="append",
        default=[],
        help="a run for each value; of several --sweep, for each combination",
    )
    sweep.add_argument(
        "--parallel",
        type=_count,
        metavar="N",
        help="most runs of a job array that run at a time (default: all)",
    )


def _checked(read: Callable[[str], object]) -> Callable[[str], object]:
    """argparse's own message for a ValueError names the function, not the rule."""

    def parse(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _time(text: str) -> str:
    parse_minutes(text)
    return text


def _jobs(text: str) -> str:
    if not re.fullmatch(r"\d+(_\d+)?(:\d+(_\d+)?)*", text):
        raise ValueError(f"{text!r} is no job id as squeue shows it, such as 12, 12_3 or 12:13")
    return text


def _where(args: argparse.Namespace) -> Where:
    flags = {name: told for name in SITE_FLAGS if (told := getattr(args, name))}
    site, file = load_site(args.site, flags=flags)
    if file is not None:
        info(f"site profile {file}")
    return Where(
        cluster=args.cluster,
        nodes=args.nodes,
        gpus_per_node=args.gpus_per_node,
        tasks_per_node=args.tasks_per_node,
        time=args.time,
        site=site,
        after=args.after,
    )


def _chain(args: argparse.Namespace, where: Where, command: str) -> Chain:
    [config] = args.configs
    has_prep = "prep" in args.chain

    def prepare_it() -> Prepared:
        return prepare(config, args.overrides, where, args.dry_run, has_prep, args.base)

    source = Source(args.source, tuple(args.shard_options or ()))
    return Chain(args.chain, source, prepare_it, command)


def _sweep(args: argparse.Namespace, where: Where) -> Sweep:
    def prepare_it(variant: Variant) -> Prepared:
        file, overrides = variant.config_file, variant.overrides
        return prepare(file, overrides, where, args.dry_run, base=args.base)

    def command(variant: Variant) -> str:
        return single_command(sys.argv[1:], args.configs, variant)

    variants = expand(args.configs, args.overrides, args.swept, args.base)
    return Sweep(variants, prepare_it, command, args.parallel)


def _nothing_to_do(prepared: Prepared, as_json: bool) -> int:
    info(
        f"run {prepared.request.name} is finished ({prepared.plan.total_steps:,} steps): nothing "
        "to do"
    )
    if as_json:
        print(json.dumps(_summary(prepared, None) | {"state": "finished"}))
    return 0


def _summary(prepared: Prepared, job_id: str | None) -> dict[str, object]:
    return {
        "job_id": job_id,
        "cluster": prepared.request.cluster,
        "name": prepared.request.name,
        "run_folder": str(prepared.folder.path),
        "nodes": prepared.request.nodes_text,
        "world_size": prepared.request.world_size,
        "total_steps": prepared.plan.total_steps,
    }


def _report(folder: RunFolder, summary: dict[str, object], as_json: bool) -> int:
    if as_json:
        print(json.dumps(summary))
        return 0
    name = typed(folder)
    info(
        f"submitted job {summary['job_id']}: {summary['world_size']} ranks on {summary['nodes']} "
        f"node(s); run folder {summary['run_folder']}"
    )
    if saved := folder.saved_step:
        info(f"it goes on after step {saved:,}")
    info("next:")
    info(f"  python slurm/jobs.py status {name}")
    info(f"  python slurm/jobs.py logs -f {name}")
    info(f"  python slurm/jobs.py cancel {name}")
    return 0


def _follow(prepared: Prepared, job: object, summary: dict[str, object], as_json: bool) -> int:
    from slurm.follow import Follower

    outcome = Follower(job, prepared.folder, prepared.request.tasks_per_node).wait()
    if as_json:
        print(json.dumps(summary | {"exit_code": outcome.exit_code, "message": outcome.message}))
    if outcome.exit_code == STOPPED_EXIT_CODE:
        info(outcome.message)
    elif outcome.exit_code:
        print(f"error: {outcome.message}", file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    run_cli(main)
