"""Train a config on Slurm or on this machine: python slurm/launch.py --nodes 8 configs/m48.yaml

Flags say where a run goes, section.key=value says what it is. On Slurm this returns at once;
a local run is followed to its end. The same command resumes a run that was stopped.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.config import load
from pipeline.errors import STOPPED_EXIT_CODE, run_cli
from pipeline.log import info
from pipeline.tracking.run_folder import RunFolder
from slurm.launch_arguments import parse
from slurm.series.chain import train_lacks
from slurm.series.chain_submission import Chain, Source, launch_chain
from slurm.series.sweep import Variant, expand, single_command
from slurm.series.sweep_submission import Sweep, launch_sweep
from slurm.submit import dry_run
from slurm.submit.request import Prepared, Where, prepare
from slurm.submit.site_profile import SITE_FLAGS, load_site
from slurm.submit.training import submit_training
from slurm.watch.background_sync import sync_root_in_background
from slurm.watch.run_lookup import typed


def main() -> int:
    args = parse(__doc__)
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
