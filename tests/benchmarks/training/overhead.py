"""What the training loop costs beyond the bare step of the same DeepSpeed engine.

python tests/benchmarks/training/overhead.py PHOTOS [--rounds N] [--steps N]

The real loop trains PoolFormer-S12 at 64 pixels in bf16, journal and progress on, over steps that
lie ready in memory. In turn with its steps, the same engine is driven by hand over the same
tensors: forward, loss, backward, step, and nothing else. A ratio is that of two such blocks that
follow each other, in alternating order. Evaluations and checkpoints are not part of a step.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])

import torch
from torch.nn.functional import cross_entropy

from pipeline.data.batches import Step
from pipeline.data.loader import Loader
from pipeline.engine import Engine
from pipeline.preempt import StopRequest
from pipeline.train import loop
from pipeline.world import World
from tests.benchmarks.loader.material import make_material
from tests.benchmarks.record import summary, write_result
from tests.benchmarks.training.clock import Enough
from tests.benchmarks.training.ours import BATCH, settings_of

_READY = 8
"""Steps that lie in memory and come again."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--rounds", type=int, metavar="N", default=12)
    parser.add_argument("--steps", type=int, metavar="N", default=20, help="in a block")
    parser.add_argument("--tmp", type=Path, metavar="DIR", default=Path("/dev/shm"))
    args = parser.parse_args()
    engines: list[Engine] = []
    seconds: dict[str, list[float]] = {"loop": [], "bare": []}
    keep_engine(engines)
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        material, _ = make_material(args.photos, Path(folder), 1280)
        config = settings_of(material, "bf16", "tracking.every_steps=10")
        steps = Loader.steps

        def timed_steps(self: Loader, start: int) -> Iterator[Step]:
            source = steps(self, start)
            ready = [next(source) for _ in range(_READY)]
            source.close()  # its threads would take part
            numbers = iter(range(10**6))

            def block() -> Iterator[Step]:
                for _ in range(args.steps):
                    number = next(numbers)
                    yield Step(number, ready[number % _READY].slots, 0.0)

            yield from block()  # warm-up
            for turn in range(args.rounds):
                for what in ("loop", "bare") if turn % 2 else ("bare", "loop"):
                    began = time.perf_counter()
                    if what == "loop":
                        yield from block()
                    else:
                        bare_steps(engines[0], [ready[n % _READY] for n in range(args.steps)])
                    seconds[what].append(time.perf_counter() - began)
            raise Enough

        Loader.steps = timed_steps
        with contextlib.suppress(Enough):
            loop.train(config, World(), StopRequest(), "", {})
    ratios = [a / b for a, b in zip(seconds["loop"], seconds["bare"], strict=True)]
    figures: dict[str, Any] = {
        "model": "PoolFormer-S12, 64 px, bf16, channels_last, ZeRO 1",
        "batch": BATCH,
        "threads": torch.get_num_threads(),
        "steps_in_a_block": args.steps,
        "milliseconds_per_step": {
            what: summary([1000 * value / args.steps for value in values], 2)
            for what, values in seconds.items()
        },
        "loop_over_bare": summary(ratios, 4) | {"target": "at most 1.02"},
    }
    write_result("training-overhead", figures, ("torch", "deepspeed"))


def bare_steps(engine: Engine, steps: list[Step]) -> None:
    """What a user of DeepSpeed writes."""
    bare: Any = engine._engine
    for step in steps:
        for slot in step.slots:
            logits = bare(slot.images, slot.drop_path)
            loss = cross_entropy(logits.float(), slot.targets, label_smoothing=0.1)
            bare.backward(loss)
            bare.step()


def keep_engine(engines: list[Engine]) -> None:
    """Put the loop's engine into the list when it is made."""
    made = Engine.__init__

    def init(self: Engine, *args: Any) -> None:
        made(self, *args)
        engines.append(self)

    Engine.__init__ = init


if __name__ == "__main__":
    main()
