"""`jobs.py doctor`: examine this machine, or the nodes that a job gets."""

import argparse
import json
import shutil
from pathlib import Path

from pipeline.config import Config, load
from pipeline.errors import UserError
from pipeline.log import ProgressLine, info
from pipeline.world import visible_gpus
from slurm.doctor.checks import CHECKS
from slurm.doctor.examining import examine
from slurm.doctor.finding import Finding, exit_code
from slurm.doctor.nodes import examine_nodes, pair_rows
from slurm.doctor.report import as_json, summary, table
from slurm.doctor.subject import Subject, read_expected
from slurm.submit.site_profile import load_site

_ROOT = Path(__file__).resolve().parents[2]
_HERE = "this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `doctor` takes."""
    parser.add_argument("config", nargs="?", help="what is to be trained, such as configs/m48.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument(
        "--nodes",
        type=_count,
        metavar="N",
        help="submit a job and examine its N nodes, and the network between each two of them",
    )
    parser.add_argument(
        "--gpus-per-node", type=_count, metavar="N", help="GPUs of a node (default: all it has)"
    )
    parser.add_argument("--site", metavar="NAME", help="site profile, as for launch.py")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Examine and tell; 0, or 3 where something fails. Raises UserError for a wrong request."""
    config = _config(args)
    subject = _subject(args, config)
    if args.nodes is None:
        findings, rows = _examine_here(subject), []
    else:
        site, _ = load_site(args.site)
        findings, answers = examine_nodes(subject, args.nodes, site, args.gpus_per_node)
        rows = pair_rows(answers)
    code = exit_code(findings)
    if args.json:
        print(json.dumps(as_json(findings, rows, code)))
        return code
    print(table(findings, shutil.get_terminal_size((100, 24)).columns))
    info(summary(findings))
    return code


def _config(args: argparse.Namespace) -> Config:
    if args.config is None:
        info("no config is named: what a training needs, its shards above all, is not examined")
        return Config(device="cuda" if visible_gpus() else "cpu")
    if "=" in args.config:
        raise UserError(f"{args.config}: settings need a config before them, as configs/m48.yaml")
    return load(args.config, args.overrides).config


def _subject(args: argparse.Namespace, config: Config) -> Subject:
    gpus = args.gpus_per_node or max(visible_gpus(), 1)
    return Subject(
        config,
        _HERE,
        ranks=gpus if config.device == "cuda" else config.engine.cpu_tasks,
        has_config=args.config is not None,
        expected=read_expected(_ROOT),
    )


def _examine_here(subject: Subject) -> list[Finding]:
    findings: list[Finding] = []
    progress = ProgressLine("checks", len(CHECKS))
    for finding in examine(subject, CHECKS):
        findings.append(finding)
        progress.update(len(findings), {"done:": finding.check})
    progress.close()
    return findings


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)
