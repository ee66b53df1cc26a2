"""Which parts of a run fit into its budget, with a team that only says how long it would take."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.errors import DataError
from tests.benchmarks.gpu import run, rungs
from tests.benchmarks.gpu.findings import Findings
from tests.benchmarks.gpu.run import Run
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.gpu.workers import Failed, Team, TooSlow

BUDGET_S = 210.0
TIMM, OURS = rungs.COMPILED_TIMM.name, rungs.COMPILED.name
PARTS = ("ceilings", "first steps", "ladder", "decoded", "profiles", "sizes", "batches")
PARTS += ("compile start with cache", "max-autotune")
CACHED_S = 10.0
"""Of compiling again what lies in the cache."""
OUT_OF_MEMORY = "OutOfMemoryError: CUDA out of memory"
LAP = {
    "images_per_second": 1000.0,
    "milliseconds_per_step": 128.0,
    "data_wait_pct": 0.0,
    "peak_bytes": 2,
    "resting_bytes": 1,
}


class Clock:
    """Nobody waits: each thread has its own seconds, which begin at those of the main one.

    That one waits for the others, and goes on at the latest second of them all.
    """

    def __init__(self) -> None:
        self._main, self._main_s, self._own = threading.get_ident(), 0.0, threading.local()
        self._ends_s: list[float] = []

    @property
    def is_main(self) -> bool:
        return threading.get_ident() == self._main

    def __call__(self) -> float:
        if not self.is_main:
            return getattr(self._own, "now_s", self._main_s)
        self._main_s = max([self._main_s, *self._ends_s])
        return self._main_s

    def spend(self, seconds: float) -> None:
        now_s = self() + seconds
        if self.is_main:
            self._main_s = now_s
        else:
            self._own.now_s = now_s
            self._ends_s.append(now_s)


class StubTeam:
    """Is its own worker. compiling_s, build_s, cold_s: of compiling, building, a kernel's first
    step. crowded, broken: rungs whose first steps fail beside others, and always."""

    def __init__(
        self,
        compiling_s: dict[str, float],
        build_s: float = 15.0,
        cold_s: float = 6.0,
        crowded: tuple[str, ...] = (),
        broken: tuple[str, ...] = (),
    ):
        self.clock, self.first_steps = Clock(), Counter[str]()
        self._compiling_s, self._build_s, self._cold_s = compiling_s, build_s, cold_s
        self._crowded, self._broken = crowded, broken
        self._others_step = threading.Event()

    def worker(self, name: str) -> "StubTeam":
        del name
        return self

    def release(self, name: str) -> None:
        del name

    def build(self, wanted: list[Rung], timeout_s: float) -> dict[str, str]:
        del wanted, timeout_s
        self.clock.spend(self._build_s)
        return {}

    def ask(self, timeout_s: float, **command: Any) -> dict[str, Any]:
        word = command["do"]
        if word == "first_step":
            return self._first_step(command["name"], timeout_s)
        takes_s = {"lap": command.get("seconds", 0) + 0.4, "ceilings": 8, "profile": 1.2}
        self.clock.spend(takes_s.get(word, 10))
        if word == "ceilings":
            return {"flops": 1e15, "bytes_per_second": 4e12, "method": ""}
        return dict(LAP) if word == "lap" else {}

    def _first_step(self, name: str, limit_s: float) -> dict[str, Any]:
        self.first_steps[name] += 1
        if name not in self._compiling_s:
            self._others_step.set()
        elif not self.clock.is_main:
            # Also keeps this thread, whose seconds are its own, from being given to the others.
            assert self._others_step.wait(30), "nothing steps while others compile"
        cold = name.startswith("kernels") or name in rungs.SIZES
        takes_s = self._compiling_s.get(name, self._cold_s if cold else 2.0)
        if name in self._compiling_s and self.first_steps[name] > 1:
            takes_s = min(takes_s, CACHED_S)
        self.clock.spend(min(takes_s, limit_s))
        if takes_s > limit_s:
            raise TooSlow(f"first_step took more than {limit_s:.0f} s")
        if name in self._broken or (name in self._crowded and not self.clock.is_main):
            raise Failed("illegal memory access" if name in self._broken else OUT_OF_MEMORY)
        return {"first_step_s": takes_s, "second_step_s": 0.1}


def after(team: StubTeam, folder: Path, budget_s: float = BUDGET_S) -> Findings:
    found = Findings(Scale("cuda", is_smoke=False), "NVIDIA H200")
    Run(found, cast(Team, team), folder, budget_s, lambda: None, None, team.clock).all()
    return found


@pytest.fixture(autouse=True)
def no_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "make_shards", lambda *_: Path("shards"))


def laps_of(found: Findings) -> dict[str, int]:
    return {name: len(one.laps) for name, one in found.ladder.items()}


def test_the_others_step_while_kernels_are_compiled(tmp_path: Path) -> None:
    team = StubTeam({TIMM: 60, OURS: 30})
    found = after(team, tmp_path)
    assert set(laps_of(found).values()) == {3} and found.faults() == {}
    assert not {"decoded", "profiles", "sizes", *rungs.SIZES[:3]} & set(found.left_out)
    assert team.clock() <= BUDGET_S + 5
    # The eight that need no compiling take 4 x 6 + 4 x 2 seconds, within the 60 of compiling.
    assert found.seconds["first steps"] == 15 + 60


def test_slow_compiling_leaves_room_for_decoded_images(tmp_path: Path) -> None:
    team = StubTeam({TIMM: 100, OURS: 40}, build_s=20, cold_s=10)
    found = after(team, tmp_path)
    assert set(laps_of(found).values()) == {3} and found.faults() == {}
    assert set(found.decoded) == {"synthetic", "decoded"} and "decoded" not in found.left_out
    assert team.clock() <= BUDGET_S + 5


@pytest.mark.parametrize("budget_s", [1.0, BUDGET_S])
def test_the_ladder_is_measured_however_long_compiling_takes(
    budget_s: float, tmp_path: Path
) -> None:
    found = after(StubTeam({TIMM: 1e4, OURS: 1e4}, build_s=30, cold_s=15), tmp_path, budget_s)
    laps = laps_of(found)
    assert laps.pop(TIMM) == laps.pop(OURS) == 0 and min(laps.values()) >= 1
    assert found.left_out[TIMM].startswith("first_step took more than")
    assert found.left_out[OURS].startswith("first_step took more than")
    assert found.faults() == {}, "what is only left out is no fault"
    if budget_s == BUDGET_S:
        assert set(laps.values()) == {3} and "decoded" not in found.left_out


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    found = after(StubTeam({TIMM: 5, OURS: 5}), tmp_path, 1.0)
    assert tuple(found.seconds) == PARTS
    left_out = {"ceilings", "the ladder's rounds after 1", *PARTS[3:]}
    assert left_out == set(found.left_out)
    assert found.left_out["decoded"].endswith("it needs about 30")


def test_variants_are_left_out_one_by_one(tmp_path: Path) -> None:
    found = after(StubTeam({TIMM: 60, OURS: 30}), tmp_path, BUDGET_S + 40)
    names = list(found.batches)
    measured = [name for name in names if found.batches[name].laps]
    assert 0 < len(measured) < len(names) and names[: len(measured)] == measured
    assert set(names) & set(found.left_out) == set(names[len(measured) :])


def test_a_larger_budget_has_room_for_all(tmp_path: Path) -> None:
    name = rungs.AUTOTUNED.name
    team = StubTeam({TIMM: 100, OURS: 40, name: 120}, build_s=20, cold_s=10)
    found = after(team, tmp_path, 560.0)
    assert found.left_out == {} and team.clock() <= 560
    assert found.ladder[name].laps and all(one.laps for one in found.batches.values())


def test_what_runs_out_of_memory_beside_others_is_tried_alone(tmp_path: Path) -> None:
    crowded, broken = (rungs.EAGER_TIMM.name, OURS), (rungs.MLP.name,)
    team = StubTeam({TIMM: 60, OURS: 30}, crowded=crowded, broken=broken)
    found = after(team, tmp_path)
    assert [found.ladder[name].error for name in crowded] == [None, None]
    assert min(len(found.ladder[name].laps) for name in crowded) >= 1
    assert [team.first_steps[name] for name in (*crowded, *broken)] == [2, 2, 1]
    assert found.faults() == {rungs.MLP.name: "illegal memory access"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError("shard.py ended with code 4: no"), "no shards: shard.py ended with code 4: no"),
        (TimeoutError(), "no shards: not ready after 90 s more"),
        (OSError(28, "No space left on device", "FOLDER"), "OSError: No space left on device"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_shards_that_fail_fail_their_part_alone(
    error: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise error

    monkeypatch.setattr(run, "make_shards", fail)
    found = after(StubTeam({TIMM: 60, OURS: 30}), tmp_path)
    assert found.left_out["decoded"].endswith(told) and "FOLDER" not in found.left_out["decoded"]
    assert set(laps_of(found).values()) == {3} and found.sizes
