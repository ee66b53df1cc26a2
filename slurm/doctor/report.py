"""Findings as a table that a newcomer can read, and as JSON."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from slurm.doctor.finding import Finding

_HEAD = ("STATE", "CHECK", "NODE", "WHAT IS FOUND")
_NODE = 2
_ORDER = {"fail": 0, "warn": 1, "ok": 2}


def table(findings: Sequence[Finding], width: int) -> str:
    """Lines of at most ``width`` characters, so far as words allow: state, check, node, reason.

    Nodes that have the same to say share a line; the remedy stands below.
    """
    merged = _merged(findings)
    rows, remedies = [line[:-1] for line in merged], [line[-1] for line in merged]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)][:3]
    if len({finding.node for finding in findings}) == 1:
        widths[_NODE] = 0
    lead = sum(width + 2 for width in widths if width)
    room = max(width - lead, 30)
    lines: list[str] = []
    for (*cells, reason), remedy in zip([_HEAD, *rows], ["", *remedies], strict=True):
        begin = "".join(f"{cell:<{w}}  " for cell, w in zip(cells, widths, strict=True) if w)
        texts = _folded(reason, room) + (_folded(f"remedy: {remedy}", room) if remedy else [])
        lines += [begin + texts[0], *(" " * lead + text for text in texts[1:])]
    return "\n".join(line.rstrip() for line in lines)


def summary(findings: Sequence[Finding]) -> str:
    """The end of it in one sentence."""
    failing = [f for f in findings if f.state == "fail"]
    warned = sum(f.state == "warn" for f in findings)
    nodes = ", ".join(dict.fromkeys(f.node for f in failing))
    return (
        f"{len(findings)} check{'s' * (len(findings) != 1)}: "
        + (f"{len(failing)} failed, on {nodes}" if failing else "none failed")
        + (f"; {warned} warning{'s' * (warned > 1)}" if warned else "")
    )


def as_json(
    findings: Sequence[Finding], rates: Sequence[dict[str, object]], exit_code: int
) -> dict[str, Any]:
    """Everything, for programs; rates: one entry per pair of nodes."""
    listed = [asdict(finding) for finding in findings]
    return {"exit_code": exit_code, "findings": listed, "all_reduce": list(rates)}


def _merged(findings: Sequence[Finding]) -> list[tuple[str, str, str, str, str]]:
    """State, check, nodes, reason, remedy; in the order of the checks, the worst of each first."""
    checks = {finding.check: None for finding in findings}
    merged: list[tuple[str, str, str, str, str]] = []
    for check in checks:
        nodes: dict[tuple[str, str, str], list[str]] = {}
        for f in findings:
            if f.check == check:
                nodes.setdefault((f.state, f.reason, f.remedy), []).append(f.node)
        for (state, reason, remedy), names in sorted(nodes.items(), key=lambda i: _ORDER[i[0][0]]):
            merged.append((state, check, _named(names), reason, remedy))
    return merged


def _named(nodes: Sequence[str]) -> str:
    """``n1``, or ``n1,n2,n3``, or ``n1 and 7 more``."""
    return ",".join(nodes) if len(nodes) <= 3 else f"{nodes[0]} and {len(nodes) - 1} more"


def _folded(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
