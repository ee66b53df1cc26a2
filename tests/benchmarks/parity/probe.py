"""Looking into an engine of the pipeline: gradients, dtypes and memory of DeepSpeed."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pipeline.collective import Collective
from pipeline.data.batches import Step
from pipeline.engine import MASTER, Engine
from tests.benchmarks.parity.plain import MOMENTS, OneStep, State


def load_state(engine: Engine, state: State, updates: int) -> None:
    """Make the engine go on from a plain training's state after so many updates."""
    for name, parameter in engine.parameters():
        for kind in (MASTER, *MOMENTS):
            engine.state.write(parameter, kind, state[f"{kind}/{name}"])
    for name, buffer in engine.module.named_buffers():
        buffer.copy_(state[f"buffer/{name}"])
    engine.state.set_update_count(updates)


def examine(
    engine: Engine, step: Step, lr: float, questions: Tensor, collective: Collective
) -> OneStep:
    """One update, watched: the same on every rank."""
    logits = engine.logits(questions)
    gradients: dict[str, Tensor] = {}
    with before(engine, "step", lambda: gradients.update(full_gradients(engine))):
        losses = collective.total(engine.train_step(step, lr).losses)
    assert gradients, "no gradient was seen before the update"
    buffers = {name: buffer.clone() for name, buffer in engine.module.named_buffers()}
    return OneStep(losses, gradients, buffers, logits, engine.logits(questions))


@contextlib.contextmanager
def before(engine: Engine, method: str, look: Callable[[], None]) -> Iterator[None]:
    """Within, ``look`` is called before DeepSpeed's ``method`` at the end of a step.

    ``allreduce_gradients`` follows the last backward pass, ``step`` its reduction.
    """
    inner = engine._engine
    original = getattr(inner, method)

    def observed(*args: Any, **kwargs: Any) -> Any:
        if inner.is_gradient_accumulation_boundary():
            look()
        return original(*args, **kwargs)

    setattr(inner, method, observed)
    try:
        yield
    finally:
        setattr(inner, method, original)


def full_gradients(engine: Engine) -> dict[str, Tensor]:
    """Whole averaged gradients by parameter, fp32; all ranks must call it."""
    from deepspeed.utils import safe_get_full_grad

    scale = engine._plan.gradient_scale  # applied by the update itself
    return {name: safe_get_full_grad(p).float() * scale for name, p in engine.parameters()}


def dtypes(engine: Engine) -> dict[str, list[str]]:
    """Of the weights that compute, the masters, and each of the optimizer's moments."""
    inner = engine._engine.optimizer
    inner = getattr(inner, "optimizer", inner)
    masters = [p for group in inner.param_groups for p in group["params"]]
    found: dict[str, set[torch.dtype]] = {
        "weights": {p.dtype for p in engine.module.parameters()},
        # Stage 3 shows its optimizer one part at a time; the state's keys are all of them.
        "masters": {p.dtype for p in (*masters, *inner.state)},
    }
    for moment in MOMENTS:
        found[moment] = {state[moment].dtype for state in inner.state.values() if state}
    return {name: sorted(str(d).removeprefix("torch.") for d in f) for name, f in found.items()}


def live_storages() -> dict[int, torch.UntypedStorage]:
    """The memory of all tensors in this process, by address; those held stay where they are."""
    gc.collect()
    found: dict[int, torch.UntypedStorage] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), Tensor):
            for tensor in (thing, thing.grad) if thing.is_leaf else (thing,):
                if tensor is not None:
                    storage = tensor.untyped_storage()
                    found[storage.data_ptr()] = storage
    found.pop(0, None)
    return found
