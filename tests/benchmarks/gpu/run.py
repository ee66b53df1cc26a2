"""The parts of a run, in their order, inside a budget of seconds."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu import rungs
from tests.benchmarks.gpu.findings import Findings, Measured
from tests.benchmarks.gpu.photographs import make_shards
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.workers import Failed, Team

_ANSWER_S = 90.0
"""The longest that a worker may take for anything but compiling."""
_AFTER_COMPILING_S = 100.0
"""What compiling has to leave of the budget for all that needs none."""
_LAP_S, _FED_LAP_S = 1.0, 3.0
_ENDLESS_S = 1e6
"""A smoke run leaves nothing out."""
_ROUNDS = 3
IMAGES = 6000
_SEED = 8
_COMPILED = [rung for rung in rungs.LADDER if rung.compile_mode]
_OTHERS = [rung for rung in rungs.LADDER if not rung.compile_mode]
_CACHED = "cached"


class Run:
    """Measures one part after the other; ``save`` is called after each, so that none is lost.

    folder: for shards and whatever else the parts write. Parts that would not fit into what is
    left of ``budget_s`` are left out, and named.
    """

    def __init__(
        self,
        findings: Findings,
        team: Team,
        folder: Path,
        budget_s: float,
        save: Callable[[], object],
        photos: Path | None,
    ):
        self._found, self._team, self._folder, self._save = findings, team, folder, save
        self._photos, self._is_smoke = photos, findings.scale.is_smoke
        self._ends_at_s = time.monotonic() + (_ENDLESS_S if self._is_smoke else budget_s)
        self._shards: Future[Path] | None = None

    def all(self) -> None:
        """Every part, the most wanted first."""
        found = self._found
        with ThreadPoolExecutor(1) as pool:
            # The processors are idle while kernels are compiled, and nothing is timed then.
            self._shards = pool.submit(self._make_shards)
            self._part("ceilings", 15, self._ceilings)
            self._part("first steps", 60, self._first_steps)
            self._part("ladder", 35, self._ladder)
            self._part("decoded", 25, self._decoded)
            self._part("profiles", 15, self._profiles)
            self._part("sizes", 15, lambda: self._sweep(found.sizes, rungs.of_sizes))
            self._part("batches", 25, lambda: self._sweep(found.batches, rungs.of_batches))
            self._part("compile start with cache", 40, self._cached_start)
            self._part("max-autotune", 120, self._autotuned)

    @property
    def _left_s(self) -> float:
        return self._ends_at_s - time.monotonic()

    def _part(self, name: str, needs_s: float, action: Callable[[], None]) -> None:
        began, left_s = time.monotonic(), self._left_s
        if left_s < needs_s:
            self._found.left_out[name] = f"{left_s:.0f} s were left, it needs about {needs_s:.0f}"
        else:
            try:
                action()
            except Failed as failed:
                self._found.left_out[name] = str(failed)
        seconds = time.monotonic() - began
        self._found.seconds[name] = round(seconds, 1)
        why = self._found.left_out.get(name)
        _say(f"{name}: {seconds:.1f} s" + (f", left out: {why}" if why else ""))
        self._save()

    def _ceilings(self) -> None:
        # The others import meanwhile, which is no work of the GPU.
        worker = self._team.worker("ceilings")
        for rung in rungs.LADDER:
            self._team.worker(rung.name)
        try:
            self._found.ceilings = worker.ask(_ANSWER_S, do="ceilings")
        finally:
            self._team.release("ceilings")

    def _first_steps(self) -> None:
        """All compile at the same time; the others then build together and step in turn."""
        ladder = self._found.ladder
        ladder |= {rung.name: Measured(rung) for rung in rungs.LADDER}
        for rung in [*rungs.of_sizes(rungs.RULE), *rungs.of_batches(rungs.RULE)]:
            self._team.worker(rung.name)
        for name in ("decoded", _CACHED):
            self._team.worker(name)
        self._build(ladder, _COMPILED)
        limit_s = max(self._left_s - _AFTER_COMPILING_S, 20.0)
        with ThreadPoolExecutor(len(_COMPILED)) as pool:
            list(pool.map(lambda rung: self._first_step(ladder[rung.name], limit_s), _COMPILED))
        self._build(ladder, _OTHERS)
        for rung in _OTHERS:
            self._first_step(ladder[rung.name])

    def _ladder(self) -> None:
        """Laps in turn, every other round backwards: drifts of the clock meet all alike."""
        for number in range(1 if self._is_smoke else _ROUNDS):
            for rung in rungs.LADDER[:: -1 if number % 2 else 1]:
                self._lap(self._found.ladder[rung.name])

    def _decoded(self) -> None:
        """One training, fed by the loader and by ready steps in turn."""
        best = self._best()
        assert self._shards is not None
        try:
            shards = self._shards.result(_ANSWER_S)
        except subprocess.CalledProcessError as error:
            raise Failed(f"no shards: {_last_line(error.stderr)}") from None
        worker = self._team.worker("decoded")
        worker.ask(_ANSWER_S, do="build_decoded", rung=best.as_json(), shards=str(shards))
        found = {n: Measured(replace(best, name=n)) for n in ("synthetic", "decoded")}
        self._found.decoded |= found
        for number in range(2 if self._is_smoke else 5):
            name = ("synthetic", "decoded")[number % 2]
            self._lap(found[name], _FED_LAP_S, worker="decoded")
        self._team.release("decoded")

    def _profiles(self) -> None:
        words = {"do": "profile", "steps": 1 if self._is_smoke else 2}
        for name, one in self._found.ladder.items():
            if one.error is None:
                one.profile = self._asked(one, name, _ANSWER_S, name=name, **words) or {}
            self._team.release(name)

    def _sweep(self, found: dict[str, Measured], variants: Callable[[Rung], list[Rung]]) -> None:
        """The fastest way, for other sizes or batches; built together, and timed one by one."""
        wanted = variants(self._best())
        found |= {rung.name: Measured(rung) for rung in wanted}
        self._build(found, wanted)
        for name, one in found.items():
            self._first_step(one)
            for _ in range(1 if self._is_smoke else 2):
                self._lap(one)
            self._team.release(name)

    def _cached_start(self) -> None:
        """What compiling costs a run that is started again and finds the cache."""
        worker, rung = self._team.worker(_CACHED), rungs.COMPILED
        worker.ask(_ANSWER_S, do="build", rung=rung.as_json())
        self._found.cached_start = worker.ask(_ANSWER_S, do="first_step", name=rung.name)
        self._team.release(_CACHED)

    def _autotuned(self) -> None:
        one = Measured(rungs.AUTOTUNED)
        self._found.ladder[one.rung.name] = one
        self._build(self._found.ladder, [one.rung])
        self._first_step(one, max(self._left_s - 5.0, 0.0))
        for _ in range(1 if self._is_smoke else 2):
            self._lap(one)
        self._team.release(one.rung.name)

    def _best(self) -> Rung:
        best = rungs.fastest_of_ours(self._found.speeds())
        if best is None:
            raise Failed("no rung of this project was measured")
        return best

    def _build(self, found: dict[str, Measured], wanted: list[Rung]) -> None:
        for name, text in self._team.build(wanted, _ANSWER_S).items():
            found[name].error = text

    def _first_step(self, one: Measured, limit_s: float = _ANSWER_S) -> None:
        if one.error is None:
            name = one.rung.name
            one.starts = self._asked(one, name, limit_s, do="first_step", name=name) or {}

    def _lap(self, one: Measured, seconds: float = _LAP_S, worker: str | None = None) -> None:
        if one.error is not None:
            return
        name, seconds = one.rung.name, 0.0 if self._is_smoke else seconds
        words = {"do": "lap", "name": name, "seconds": seconds}
        lap = self._asked(one, worker or name, _ANSWER_S, **words)
        if lap is not None:
            one.laps.append(lap)
            _say(f"  {name:<36}{lap['images_per_second']:>8.0f} img/s")

    def _asked(
        self, one: Measured, worker: str, timeout_s: float, **command: Any
    ) -> dict[str, Any] | None:
        """A worker's answer about a rung; None after an error, which the rung then bears."""
        try:
            return self._team.worker(worker).ask(timeout_s, **command)
        except Failed as failed:
            one.error = str(failed)
            _say(f"  {one.rung.name}: {failed}")
            return None

    def _make_shards(self) -> Path:
        count = 24 if self._is_smoke else IMAGES
        return make_shards(self._folder, count, _SEED, self._photos)


def _last_line(text: str | bytes | None) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text or ""
    return (words.strip().splitlines() or ["no words"])[-1]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
