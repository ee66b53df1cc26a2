"""Who kept the others waiting, decided from what is known of every rank."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.watchdog.stack import frames, main_thread, place

_STOPPED = {"T": "stopped", "t": "held by a debugger", "Z": "dead", "X": "dead"}
_STATES = {"R": "running", "S": "sleeping", "D": "in an uninterruptible wait", "I": "idle"}
_SHOWN_RANKS = 8


@dataclass(frozen=True)
class Report:
    """What a rank's watcher saw of it when ranks had waited for too long."""

    rank: int
    node: str
    pid: int
    exchanges: int
    moment: str
    """Name of the exchange that it was in, or in last."""
    is_waiting: bool
    since_s: float
    """How long nothing had moved."""
    state: str
    """Of its main thread, as ps tells it: R, S, D, T, t, Z."""
    cpu_pct: float
    """Of all its threads, just before."""
    blocked: tuple[str, ...]
    """Threads in an uninterruptible wait, with the kernel's function."""
    stack: tuple[str, ...]
    """Lines of faulthandler, all threads; empty where it could not answer."""

    @property
    def doing(self) -> str:
        what = _STOPPED.get(self.state) or _STATES.get(self.state, "in an unknown state")
        load = f", {self.cpu_pct:.0f} % of a CPU" if self.state == "R" else ""
        where = place(self.stack)
        blocked = f"; {', '.join(self.blocked[:2])}" if self.blocked else ""
        return f"{what} (state {self.state}{load}){where and f' at {where}'}{blocked}"


@dataclass(frozen=True)
class Culprit:
    """A rank that kept the others waiting."""

    rank: int
    node: str | None
    """None where it never said so."""
    why: str
    stack: tuple[str, ...] = ()
    """Its main thread's, the innermost call first."""

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.node or 'an unknown node'}"


@dataclass(frozen=True)
class Verdict:
    """culprits: none where all ranks were in the same exchange, alike. text: all of it, a line."""

    culprits: tuple[Culprit, ...]
    text: str


def verdict(
    reports: Sequence[Report], nodes: Sequence[str], world_size: int, timeout_s: float
) -> Verdict:
    """Decide. nodes: by rank, where known; timeout_s: engine.collective_timeout_s."""
    by_rank = {report.rank: report for report in reports}
    whys = _silent(by_rank, world_size) | _stopped(reports)
    for suspicion in (_behind, _elsewhere, _blocked, _odd_stack):
        whys = whys or suspicion(reports)
    culprits = tuple(
        Culprit(
            rank,
            _node_of(rank, by_rank, nodes),
            why,
            tuple(main_thread(by_rank[rank].stack)) if rank in by_rank else (),
        )
        for rank, why in sorted(whys.items())
    )
    return Verdict(culprits, _text(reports, culprits, world_size, timeout_s))


def _node_of(rank: int, by_rank: dict[int, Report], nodes: Sequence[str]) -> str | None:
    if rank in by_rank:
        return by_rank[rank].node
    return nodes[rank] if rank < len(nodes) else None


def _silent(by_rank: dict[int, Report], world_size: int) -> dict[int, str]:
    why = "nothing was heard of it: it or its node is lost, or cannot write to the run folder"
    return {rank: why for rank in range(world_size) if rank not in by_rank}


def _stopped(reports: Sequence[Report]) -> dict[int, str]:
    return {r.rank: f"it was {r.doing}" for r in reports if r.state in _STOPPED}


def _behind(reports: Sequence[Report]) -> dict[int, str]:
    """Ranks that have begun fewer exchanges: at work, or else in an exchange that others left."""
    fewest = min(report.exchanges for report in reports)
    if fewest == max(report.exchanges for report in reports):
        return {}
    behind = [report for report in reports if report.exchanges == fewest]
    at_work = [report for report in behind if not report.is_waiting]
    left = 'it has not come there in the {:.0f} s since "{}"; it was {}'
    stays = 'for {:.0f} s it has not left "{}"; it was {}'
    return {
        r.rank: (left if at_work else stays).format(r.since_s, r.moment, r.doing)
        for r in at_work or behind
    }


def _elsewhere(reports: Sequence[Report]) -> dict[int, str]:
    """Ranks in another exchange than most: they have taken another way through the program."""
    (usual, count), *others = Counter(report.moment for report in reports).most_common()
    if not others or count <= len(reports) / 2:
        return {}
    return {
        r.rank: f'it took part in another exchange, "{r.moment}"; it was {r.doing}'
        for r in reports
        if r.moment != usual
    }


def _blocked(reports: Sequence[Report]) -> dict[int, str]:
    return {r.rank: f"it was {r.doing}" for r in reports if r.state == "D"}


def _odd_stack(reports: Sequence[Report]) -> dict[int, str]:
    """Ranks that are not where most are: these wait in torch.distributed, or in one same line."""
    innermost = {r.rank: (frames(r.stack) or [None])[0] for r in reports}
    exchanging = {rank for rank, frame in innermost.items() if frame and frame.is_exchange}
    if not exchanging:
        usual, count = Counter(innermost.values()).most_common(1)[0]
        if count <= len(reports) / 2:
            return {}
        exchanging = {rank for rank, frame in innermost.items() if frame == usual}
    return {
        r.rank: f"it was not waiting as the others were, but {r.doing}"
        for r in reports
        if r.rank not in exchanging and innermost[r.rank] is not None
    }


def _text(
    reports: Sequence[Report], culprits: tuple[Culprit, ...], world_size: int, timeout_s: float
) -> str:
    blamed = {culprit.rank for culprit in culprits}
    waiting = [r for r in reports if r.is_waiting and r.rank not in blamed] or reports
    since_s = max(report.since_s for report in waiting)
    moment, _ = Counter(report.moment for report in waiting).most_common(1)[0]
    waited = f'for {since_s:.0f} s (engine.collective_timeout_s={timeout_s:g}) in "{moment}"'
    if not culprits:
        each = [f"rank {r.rank} on {r.node}: {r.doing}" for r in reports]
        return (
            f"all {world_size} ranks have waited for each other {waited}: the network between "
            f"them, or a GPU, does not answer; {_listed(each)}"
        )
    others = world_size - len(culprits)
    kept = f"kept {others} rank{'s' * (others != 1)} waiting {waited}"
    if len(culprits) == 1:
        return f"{culprits[0]} {kept}: {culprits[0].why}"
    each = [f"{culprit}: {culprit.why}" for culprit in culprits]
    return f"{len(culprits)} ranks {kept}; {_listed(each)}"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN_RANKS
    return "; ".join(texts[:_SHOWN_RANKS]) + (f"; and {more} more" if more > 0 else "")
