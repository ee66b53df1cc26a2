"""The parts of a run, in their order, inside a budget of seconds."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from tests.benchmarks.gpu import rungs
from tests.benchmarks.gpu.findings import Findings, Measured
from tests.benchmarks.gpu.photographs import make_shards
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.workers import Failed, Team, TooSlow

_ANSWER_S = 90.0
"""The longest that a worker may take for anything but compiling."""
_COMPILING_S = 200.0
"""The longest that compiling may take, however large the budget."""
_DECODED_S = 30.0
_AFTER_COMPILING_S = 45.0 + _DECODED_S
"""What compiling has to leave of the budget: the ladder's rounds, and training on JPEGs."""
_LEAST_S = 20.0
"""What a first step may take in any case, however little is left."""
_VARIANT_S = 8.0
"""Of another size or batch: its first step and laps."""
_LAP_S, _FED_LAP_S = 1.0, 3.0
_ENDLESS_S = 1e6
"""A smoke run leaves nothing out."""
_ROUNDS = 3
IMAGES = 6000
_SEED = 8
_COMPILED = [rung for rung in rungs.LADDER if rung.compile_mode]
# Those that need the least memory first: what is compiled may be stepping beside the last.
_OTHERS = [rung for rung in rungs.LADDER[::-1] if not rung.compile_mode]
_CROWDED = ("out of memory", "ALLOC_FAILED")
"""What errors say where a device's memory did not suffice."""
_CACHED = "cached"


class Run:
    """Measures one part after the other; ``save`` is called after each, so that none is lost.

    folder: for shards and whatever else the parts write. Parts that would not fit into what is
    left of ``budget_s`` are left out, and named; the ladder never is. clock: seconds.
    """

    def __init__(
        self,
        findings: Findings,
        team: Team,
        folder: Path,
        budget_s: float,
        save: Callable[[], object],
        photos: Path | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._found, self._team, self._folder, self._save = findings, team, folder, save
        self._photos, self._is_smoke = photos, findings.scale.is_smoke
        self._clock = clock
        self._ends_at_s = clock() + (_ENDLESS_S if self._is_smoke else budget_s)
        self._shards: Future[Path] | None = None

    def all(self) -> None:
        """Every part, the most wanted first."""
        found = self._found
        with ThreadPoolExecutor(1) as pool:
            # The processors are idle while kernels are compiled, and nothing is timed then.
            self._shards = pool.submit(self._make_shards)
            self._part("ceilings", 15, self._ceilings)
            self._part("first steps", 0, self._first_steps)
            self._part("ladder", 0, self._ladder)
            self._part("decoded", _DECODED_S, self._decoded)
            self._part("profiles", 15, self._profiles)
            # Large batches need the memory that the ladder holds.
            for rung in rungs.LADDER:
                self._team.release(rung.name)
            self._part("sizes", 25, lambda: self._sweep(found.sizes, rungs.of_sizes))
            self._part("batches", 25, lambda: self._sweep(found.batches, rungs.of_batches))
            self._part("compile start with cache", 40, self._cached_start)
            self._part("max-autotune", 120, self._autotuned)

    @property
    def _left_s(self) -> float:
        return self._ends_at_s - self._clock()

    def _part(self, name: str, needs_s: float, action: Callable[[], None]) -> None:
        began, left_s = self._clock(), self._left_s
        if needs_s and left_s < needs_s:
            self._found.left_out[name] = f"{left_s:.0f} s were left, it needs about {needs_s:.0f}"
        else:
            try:
                action()
            except Failed as failed:
                self._found.left_out[name] = str(failed)
        seconds = self._clock() - began
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
        """What compiles does so at the same time; beside it the others step in turn."""
        ladder = self._found.ladder
        ladder |= {rung.name: Measured(rung) for rung in rungs.LADDER}
        self._build(ladder, list(rungs.LADDER))
        # They import while others compile.
        for rung in [*rungs.of_sizes(rungs.RULE), *rungs.of_batches(rungs.RULE)]:
            self._team.worker(rung.name)
        for name in ("decoded", _CACHED):
            self._team.worker(name)
        until_s = self._compiled_by_s()
        with ThreadPoolExecutor(len(_COMPILED) + 1) as pool:
            compiling = [pool.submit(self._compile, ladder[r.name], until_s) for r in _COMPILED]
            stepping = pool.submit(self._step_in_turn, until_s)
            for one in [*compiling, stepping]:
                one.result()
        self._once_more()

    def _step_in_turn(self, until_s: float) -> None:
        for rung in _OTHERS:
            limit_s = min(_ANSWER_S, max(until_s - self._clock(), _LEAST_S))
            self._first_step(self._found.ladder[rung.name], limit_s)

    def _once_more(self) -> None:
        """What ran out of memory beside the others is tried alone."""
        for one in self._found.ladder.values():
            if one.error is None or not any(words in one.error for words in _CROWDED):
                continue
            one.error = None
            self._build(self._found.ladder, [one.rung])
            if one.rung.compile_mode:
                self._compile(one, self._compiled_by_s())
            else:
                self._first_step(one)

    def _compiled_by_s(self) -> float:
        """The clock's second at which what still compiles is left out."""
        return self._clock() + min(self._left_s - _AFTER_COMPILING_S, _COMPILING_S)

    def _compile(self, one: Measured, until_s: float) -> None:
        """A first step with compiling; where it is not ready in time, the rung is left out."""
        name = one.rung.name
        self._first_step(one, max(until_s - self._clock(), _LEAST_S))
        if one.is_late and one.error is not None:
            self._found.left_out[name] = one.error

    def _ladder(self) -> None:
        """Laps in turn, every other round backwards: drifts of the clock meet all alike.

        The first round is never left out; the others leave the time for decoded images.
        """
        for number in range(1 if self._is_smoke else _ROUNDS):
            began = self._clock()
            for rung in rungs.LADDER[:: -1 if number % 2 else 1]:
                self._lap(self._found.ladder[rung.name])
            needs_s = self._clock() - began + _DECODED_S
            if self._left_s < needs_s and number + 1 < _ROUNDS:
                why = f"{self._left_s:.0f} s were left"
                self._found.left_out[f"the ladder's rounds after {number + 1}"] = why
                break

    def _decoded(self) -> None:
        """One training, fed by the loader and by ready steps in turn."""
        best = self._best()
        shards = self._finished_shards()
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

    def _sweep(self, found: dict[str, Measured], variants: Callable[[Rung], list[Rung]]) -> None:
        """The fastest way, for other sizes or batches; built together, and timed one by one."""
        wanted = variants(self._best())
        found |= {rung.name: Measured(rung) for rung in wanted}
        self._build(found, wanted)
        for name, one in found.items():
            if self._left_s < _VARIANT_S:
                one.error = "left out"
                self._found.left_out[name] = f"{self._left_s:.0f} s were left"
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
        self._compile(one, self._ends_at_s - 5.0)
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
            _say(f"  {name}: {text}")

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
            one.error, one.is_late = str(failed), isinstance(failed, TooSlow)
            _say(f"  {one.rung.name}: {failed}")
            return None

    def _finished_shards(self) -> Path:
        assert self._shards is not None
        try:
            return self._shards.result(_ANSWER_S)
        except DataError as error:
            raise Failed(f"no shards: {error}") from None
        except TimeoutError as error:
            why = str(error) or f"not ready after {_ANSWER_S:.0f} s more"
            raise Failed(f"no shards: {why}") from None
        except (OSError, ArithmeticError, ValueError) as error:
            # An OSError's whole text would name a folder of this machine.
            why = getattr(error, "strerror", None) or error
            raise Failed(f"no shards: {type(error).__name__}: {why}") from None

    def _make_shards(self) -> Path:
        count = 24 if self._is_smoke else IMAGES
        return make_shards(self._folder, count, _SEED, self._photos)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
