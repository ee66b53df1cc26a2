"""What can be typed behind launch.py."""

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from pipeline.config.load import BASE_FLAG, BASE_HELP
from slurm.series.chain import parse_chain
from slurm.series.sweep import Swept, parse_seeds, parse_sweep
from slurm.submit.site_profile import SITE_FLAGS
from slurm.submit.time_limit import parse_minutes

_WORDS = (
    "a config file, such as configs/m48.yaml, or several, a run for each; and settings that go "
    "before the files'"
)


def parse(description: str | None) -> argparse.Namespace:
    """The command line of ``launch.py``; ends the process with exit code 2 where it is wrong.

    Beside the flags: configs (files), overrides (``section.key=value``), swept.
    """
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --seed is not --seeds
    )
    parser.add_argument("words", nargs="+", metavar="CONFIG | section.key=value", help=_WORDS)
    parser.add_argument(BASE_FLAG, metavar="FILE", help=BASE_HELP)
    _add_where(parser)
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


def _add_where(parser: argparse.ArgumentParser) -> None:
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
