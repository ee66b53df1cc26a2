"""A Slurm cluster of eight nodes on this machine, to try things on: make cluster"""

import argparse
import shutil
import sys
from pathlib import Path

from pipeline.errors import UserError, run_cli
from pipeline.log import info, warn
from tests.slurm.cluster.cluster import Cluster
from tests.slurm.cluster.lifetime import NODE_COUNT, how_to_install, missing_programs, start
from tests.slurm.cluster.processes import ClusterError, kill, owned

_FOLDER = Path(__file__).resolve().parents[3] / ".cluster"
_NODES = tuple(f"n{number}" for number in range(1, NODE_COUNT + 1))
# A socket's path has 107 characters; Slurm's own sockets are called spool/n8/n8_123456.0.
_LONGEST_FOLDER = 80


def main() -> int:
    args = _parse()
    folder: Path = args.folder.resolve()
    try:
        return args.act(folder, args)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _up(folder: Path, _: argparse.Namespace) -> int:
    if missing := missing_programs():
        raise UserError(f"a cluster needs {how_to_install(missing)}")
    if len(str(folder)) > _LONGEST_FOLDER:
        raise UserError(
            f"{folder} is too long for the sockets in it, {len(str(folder))} characters; use at "
            f"most {_LONGEST_FOLDER}: make cluster CLUSTER=/tmp/cluster"
        )
    cluster = Cluster(folder, _NODES)
    alive = set(owned(folder).values())
    if alive >= {"munged", "mariadbd", "slurmdbd", "slurmctld"}:
        info(f"the cluster runs already, in {folder}")
        if dead := cluster.mend():
            info(f"started {', '.join(dead)} again")
        _print_next(cluster)
        return 0
    if kill(folder):
        warn("stopped what was left of a cluster that is not whole; starting it anew")
    _delete(folder)
    folder.mkdir(mode=0o700, parents=True)
    info(f"starting munge, accounting, the controller and {NODE_COUNT} nodes in {folder}")
    try:
        start(folder)
    except BaseException:
        kill(folder)
        raise
    info(f"{NODE_COUNT} nodes are idle")
    _print_next(cluster)
    return 0


def _print_next(cluster: Cluster) -> None:
    elsewhere = cluster.folder != _FOLDER
    flag, variable = (
        (f" --folder {cluster.folder}", f" CLUSTER={cluster.folder}") if elsewhere else ("", "")
    )
    for line in (
        "next, in any shell here:",
        "  source .venv/bin/activate",
        f"  export SLURM_CONF={cluster.folder}/slurm.conf",
        "  sinfo",
        "  python data_prep/digits.py .demo/digits && python data_prep/shard.py .demo/digits",
        "  python slurm/launch.py --nodes 8 --tasks-per-node 1 configs/digits.yaml \\",
        "      train.micro_batch=8 engine.dtype=fp32",
        f"  python -m tests.slurm.cluster kill n3{flag}   # a node dies; `start n3` mends it",
        "jobs of the partition urgent preempt those of test, the default; to remove all of it:",
        f"  make cluster-down{variable}",
    ):
        info(line)


def _down(folder: Path, _: argparse.Namespace) -> int:
    stopped = kill(folder)
    is_there = folder.exists()
    _delete(folder)
    if stopped or is_there:
        info(f"stopped the cluster's {stopped} processes and deleted {folder}")
    else:
        info(f"no cluster runs in {folder}: nothing to do")
    return 0


def _delete(folder: Path) -> None:
    """Delete a cluster's files, and nobody else's."""
    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / "munge.key").exists():
        raise UserError(f"{folder} holds other files than a cluster's; name a new folder")
    shutil.rmtree(folder)


def _guard(folder: Path, _: argparse.Namespace) -> int:
    sys.stdin.read()
    kill(folder)
    return 0


def _kill_node(folder: Path, args: argparse.Namespace) -> int:
    _check_runs(folder)
    Cluster(folder, _NODES).kill_node(args.node)
    info(f"killed {args.node} and its jobs there; back with: start {args.node}")
    return 0


def _start_node(folder: Path, args: argparse.Namespace) -> int:
    _check_runs(folder)
    if args.node in Cluster(folder, (args.node,)).mend():
        info(f"{args.node} is back")
    else:
        info(f"{args.node} is not dead: nothing to do")
    return 0


def _check_runs(folder: Path) -> None:
    if not owned(folder):
        raise UserError(f"no cluster runs in {folder}; start one: make cluster")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, act, text in (
        ("up", _up, "start it, in the background"),
        ("down", _down, "stop all of it and delete its files"),
        ("kill", _kill_node, "cut a node's power: SIGKILL its daemon and its jobs"),
        ("start", _start_node, "bring a killed node back"),
        ("guard", _guard, "stop all of it when stdin ends"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.set_defaults(act=act)
        verb.add_argument("--folder", type=Path, default=_FOLDER, help=f"default {_FOLDER}")
        if name in ("kill", "start"):
            verb.add_argument("node", choices=_NODES, metavar="NODE", help="n1 to n8")
    return parser.parse_args()


if __name__ == "__main__":
    run_cli(main)
