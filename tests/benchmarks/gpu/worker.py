"""A process that holds trainings and times them when asked; see workers.py for who asks.

python -m tests.benchmarks.gpu.worker cuda|cpu whole|smoke

Reads one JSON command a line from stdin and answers with one JSON line on stdout. An error is an
answer, after which the process goes on; all other output goes to stderr.
"""

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pipeline.collective import Collective, connect
from pipeline.world import World
from tests.benchmarks.gpu import laps
from tests.benchmarks.gpu.ceilings import ceilings
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.scale import Scale


class Worker:
    """The trainings of this process, by name."""

    def __init__(self, scale: Scale):
        self._scale = scale
        self._held: dict[str, laps.Contestant] = {}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one command; what it found."""
        actions: dict[str, Callable[..., dict[str, Any]]] = {
            "build": self.build,
            "build_decoded": self.build_decoded,
            "drop": self.drop,
            "first_step": lambda name: laps.first_step(self._held[name]),
            "lap": lambda name, seconds: laps.lap(self._held[name], seconds),
            "profile": lambda name, steps: laps.profile(self._held[name], steps),
            "ceilings": lambda: ceilings(torch.device(self._scale.device)),
        }
        words = dict(command)
        return actions[words.pop("do")](**words)

    def build(self, rung: dict[str, Any]) -> dict[str, Any]:
        """Make the training of a rung, by whose name it is held."""
        made = Rung(**rung)
        # Imported here: what keeps one of them from starting does not concern the other.
        if made.whose == "timm":
            from tests.benchmarks.gpu.peer import Peer

            self._held[made.name] = Peer(made, self._scale)
        else:
            from tests.benchmarks.gpu.ours import Ours

            self._held[made.name] = Ours(made, self._scale, self._collective)
        return {}

    def build_decoded(self, rung: dict[str, Any], shards: str) -> dict[str, Any]:
        """Make one training that can be fed in two ways: ``decoded`` and ``synthetic``."""
        from tests.benchmarks.gpu.decoded import Decoded

        pair = Decoded(Rung(**rung), self._scale, self._collective, Path(shards))
        self._held |= {"decoded": pair, "synthetic": pair.synthetic}
        return {}

    def drop(self, name: str | None = None) -> dict[str, Any]:
        """Let go of a training, and of memory that nobody holds."""
        self._held.pop(name or "", None)
        gc.collect()
        if self._scale.device == "cuda":
            torch.cuda.empty_cache()
        return {}

    @cached_property
    def _collective(self) -> Collective:
        return connect(World(), self._scale.device, 600)


def main() -> None:
    # Whatever DeepSpeed or DALI print is none of the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    device, size = sys.argv[1:]
    worker = Worker(Scale("cuda" if device == "cuda" else "cpu", size == "smoke"))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            found = worker.answer(command)
        except Exception as error:  # noqa: BLE001 (one rung's failure is a finding; others go on)
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
            # A training that ran out of memory would keep it from the others.
            worker.drop(command.get("name") or command.get("rung", {}).get("name"))
        answers.write(json.dumps(found) + "\n")
    # The loader's threads would wait for a consumer for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
