"""One link of a chain of worlds and ZeRO stages, on every rank: restore, compare, train, save.

chain_link FOLDER CASE SEED; what the link before has left lies in FOLDER. Prints JSON.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.checkpoint import Checkpoints, Progress, evaluated
from pipeline.collective import Collective, connect
from pipeline.config.schema import Config
from pipeline.data.batches import Step
from pipeline.engine import Engine
from pipeline.optim import Schedule
from pipeline.tracking.tracker import SilentTracker
from pipeline.world import from_environment
from tests.dist.toy import config_of, engine_of, micro_batch_of, plan_of, steps_of

STEPS = 2
"""Per link; one more is not saved, and the next link makes it again."""
BETA = 0.5


def config_of_case(case: str) -> Config:
    """All that a checkpoint can hold: moments, average, frozen parts, BatchNorm, random mixers."""
    return config_of(
        case,
        model={
            "freeze": ["stem.*"],
            "metaformer": {"token_mixers": ["random", "pooling"], "norm": "batch_norm"},
        },
        optim={"model_ema_decay": 0.75, "opt_betas": [BETA, 0.999]},
    )


def state_of(engine: Engine, images: Tensor) -> dict[str, Tensor]:
    """By ``<kind>/<name>``; and what the model makes of some images, also with the average."""
    found = {
        f"{kind}/{name}": engine.state.read(parameter, kind).clone().contiguous()
        for name, parameter in engine.parameters()
        for kind in engine.state.kinds(parameter)
    }
    found |= {f"buffer/{name}": buffer.clone() for name, buffer in engine.module.named_buffers()}
    found["logits/of the masters"] = engine.logits(images)
    with engine.state.averaged():
        found["logits/of the average"] = engine.logits(images)
    return found


class Link:
    """An engine of this world and stage, whose initial weights are ``seed``'s."""

    def __init__(self, case: str, seed: int, collective: Collective):
        self.config, self.collective = config_of_case(case), collective
        self.plan = plan_of(self.config, collective)
        self.engine = engine_of(self.config, collective, seed)
        self.schedule = Schedule(self.config.optim, self.config.train, self.plan)
        self.images = micro_batch_of(self.config, self._rates, 999, 0).images

    @property
    def _rates(self) -> object:
        return self.engine.module.drop_path_rates

    def state(self) -> dict[str, Tensor]:
        return state_of(self.engine, self.images)

    def train(self, number: int) -> dict[str, Tensor]:
        """One step; the losses of its micro-batches, its rate and its averaged gradient."""
        steps = steps_of(self.config, self.plan, self.collective.world, self._rates, number + 1)
        step: Step = steps[number]
        before, lr = self._first_moments(), self.schedule.lr(number)
        losses = self.collective.total(self.engine.train_step(step, lr).losses.clone())
        after = self._first_moments()
        # Adam's first moment is beta × the old one + (1 - beta) × the gradient.
        parts = [(after[n] - BETA * before.get(n, 0)).flatten() / (1 - BETA) for n in sorted(after)]
        return {"losses": losses, "lr": torch.tensor(lr), "gradient": torch.cat(parts)}

    def _first_moments(self) -> dict[str, Tensor]:
        return {
            name: self.engine.state.read(parameter, "exp_avg").clone()
            for name, parameter in self.engine.parameters()
            if "exp_avg" in self.engine.state.kinds(parameter)
        }


def compared(before: dict[str, Tensor], after: dict[str, Tensor], left: dict[str, Tensor]) -> dict:
    """What is not to the last bit what was left, and whether it was something else before."""
    assert after.keys() == left.keys()
    unequal = sorted(name for name in left if not torch.equal(after[name], left[name]))
    same = [name for name in before if torch.equal(before[name], left[name])]
    return {
        "unequal": unequal,
        "kinds": sorted({name.split("/")[0] for name in left}),
        "were_the_same_before": [
            name for name in same if "random_matrix" in name or "running" in name or ".conv" in name
        ],
        "random_matrices": sum("random_matrix" in name for name in left),
        "statistics": sum("running_mean" in name for name in left),
    }


def main(folder: Path, case: str, seed: int) -> None:
    torch.set_num_threads(1)
    collective = connect(from_environment(), "cpu", 60)
    link = Link(case, seed, collective)
    checkpoints = Checkpoints(
        folder / "checkpoints", collective, link.config.checkpoint, SilentTracker()
    )
    before = link.state()
    progress = checkpoints.restore(link.engine, link.images)
    found: dict[str, object] = {"step": progress.step}
    first = None
    if progress.step:
        found |= compared(before, link.state(), load_file(folder / "left.safetensors"))
        facts = json.loads((folder / "left.json").read_text())
        found["progress_is_the_same"] = json.loads(json.dumps(asdict(progress))) == facts
        first = load_file(folder / "next.safetensors")
    for number in range(progress.step, progress.step + STEPS):
        made = link.train(number)
        if first is not None:
            norm = first["gradient"].norm()
            found["gradient_distance"] = float((made["gradient"] - first["gradient"]).norm() / norm)
            found["losses_are_the_same"] = torch.equal(made["losses"], first["losses"])
            found["lr_is_the_same"] = torch.equal(made["lr"], first["lr"])
            first = None
    progress = advanced(progress)
    checkpoints.save(link.engine, progress, must=True)
    left, following = link.state(), link.train(progress.step)
    collective.on_main(lambda: leave(folder, progress, left, following))
    collective.close()
    print(json.dumps(found))


def advanced(progress: Progress) -> Progress:
    step = progress.step + STEPS
    sums = tuple(step + index / 3 for index in range(6))
    progress = replace(progress, step=step, updates=step, loss_sums=sums, loss_steps=1)
    return evaluated(progress, 50 + step / 3)


def leave(
    folder: Path, progress: Progress, state: dict[str, Tensor], following: dict[str, Tensor]
) -> None:
    save_file(state, folder / "left.safetensors")
    save_file(following, folder / "next.safetensors")
    (folder / "left.json").write_text(json.dumps(asdict(progress)))


main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
