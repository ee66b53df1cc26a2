"""What ``launch.py --dry-run`` shows: all that would be asked for, and what it would cost."""

import json
import re
import shutil
from dataclasses import asdict
from typing import Any

from pipeline.config.load import write_resolved
from pipeline.log import info
from pipeline.plan import Plan
from pipeline.plan.known import table
from slurm.submit import submission
from slurm.submit.forecast import Forecast, forecast
from slurm.submit.request import Prepared
from slurm.submit.time_limit import show_minutes
from slurm.submit.training import check_free


def show(prepared: Prepared, as_json: bool, is_finished: bool = False) -> int:
    """Print it; returns the exit code. Raises UserError where its job is queued already."""
    is_slurm = prepared.request.cluster == "slurm"
    if is_slurm and shutil.which("sbatch"):
        check_free(prepared.folder, prepared.request.after)
    if is_finished:
        info(f"run {prepared.request.name} is finished: there would be nothing to do")
    if as_json:
        print(json.dumps(facts_of(prepared)))
        return 0
    plan = _plan_lines(prepared) | _forecast_lines(prepared)
    # The plan last: a terminal shows the end.
    sections = {
        "resolved config": write_resolved(prepared.loaded.config),
        "sbatch": submission.sbatch_text(prepared.request) if is_slurm else "",
        "plan": "\n".join(f"{name + ':':<24}{value}" for name, value in plan.items()),
    }
    print("\n\n".join(f"# {title}\n{tidy(text)}" for title, text in sections.items() if text))
    return 0


def tidy(script: str) -> str:
    """A text without empty lines at its ends, and without two in a row."""
    return re.sub(r"\n{3,}", "\n\n", script.strip("\n"))


def facts_of(prepared: Prepared) -> dict[str, Any]:
    """The same as plain values."""
    request, plan, config = prepared.request, prepared.plan, prepared.loaded.config
    is_slurm = request.cluster == "slurm"
    return {
        "cluster": request.cluster,
        "name": request.name,
        "run_folder": str(prepared.folder.path),
        "nodes": request.nodes_text,
        "tasks_per_node": request.tasks_per_node,
        "gpus_per_node": request.gpus_per_node,
        "time_limit_min": request.time_min if is_slurm else None,
        "plan": _plan_facts(plan),
        "smallest_plan": _plan_facts(prepared.smallest_plan),
        "forecast": asdict(_forecast(prepared)),
        "config": config.model_dump(mode="json"),
        "sbatch": submission.sbatch_text(request) if is_slurm else None,
    }


def _plan_facts(plan: Plan) -> dict[str, Any]:
    return asdict(plan) | {"idle_slots": plan.idle_slots}


def _plan_lines(prepared: Prepared) -> dict[str, object]:
    request, plan = prepared.request, prepared.plan
    smallest = prepared.smallest_plan if prepared.smallest_plan != plan else None
    batch, micro_batch = plan.global_batch, plan.micro_batch
    world = f"{request.nodes} node(s) x {request.tasks_per_node} rank(s) = {plan.world_size}"
    per_rank = _slots(plan)
    if smallest is not None:
        world += f"; at least {request.min_nodes} node(s) = {smallest.world_size}"
        per_rank += f"; on {request.min_nodes} node(s) {_slots(smallest)}"
    return {
        "cluster": request.cluster,
        "world": world,
        "global batch": f"{batch} = {plan.micro_batches} micro-batches of {micro_batch}",
        "micro-batches per rank": per_rank,
        "peak lr": f"{plan.lr_peak:g}",
        "steps": f"{plan.total_steps:,} = {plan.steps_per_epoch:,} an epoch, "
        f"{plan.schedule_epochs} epochs",
        "run folder": prepared.folder.path,
    }


def _slots(plan: Plan) -> str:
    return f"{plan.slots} ({plan.idle_slots} idle slots in all)"


def _forecast(prepared: Prepared) -> Forecast:
    config, request = prepared.loaded.config, prepared.request
    return forecast(config, prepared.plan, request.time_min, prepared.folder.saved_step)


def _forecast_lines(prepared: Prepared) -> dict[str, str]:
    """Words for what is known, for a lower bound, and for what is not known."""
    expected = _forecast(prepared)
    saved = prepared.folder.saved_step
    is_gpu = prepared.loaded.config.device == "cuda"
    lines = {f"memory per {'GPU' if is_gpu else 'rank'}": _memory(expected, prepared)}
    hours = f"unknown: {expected.basis}"
    if expected.rank_hours is not None:
        hours = f"{_hours(expected.rank_hours)}: {expected.basis}"
    elif expected.least_rank_hours is not None:
        hours = (
            f"{expected.basis}; at least {_hours(expected.least_rank_hours)}, which is an "
            f"{table().usual_gpu.gpu} at its peak: real trainings stay far below that"
        )
    hours += f"; after step {saved:,}" if saved else ""
    lines["GPU-hours" if is_gpu else "hours of ranks"] = hours
    if prepared.request.cluster == "slurm":
        lines["time slots"] = _time_slots(expected, prepared.request.time_min)
    return lines


def _memory(expected: Forecast, prepared: Prepared) -> str:
    if expected.state_bytes is None:
        return "unknown: `python -m pipeline.models CONFIG` counts it"
    state = f"{expected.state_bytes / 1e9:.1f} GB of weights, gradients and optimizer state"
    if expected.activation_bytes is None:
        return f"{state}, and activations: `python -m pipeline.models CONFIG` counts them"
    both = (expected.state_bytes + expected.activation_bytes) / 1e9
    bound = "at most " if prepared.loaded.config.engine.grad_checkpointing else ""
    return (
        f"{bound}{both:.1f} GB = {state}, {expected.activation_bytes / 1e9:.1f} GB of activations "
        f"of {prepared.plan.micro_batch} images; counted, CUDA's and DALI's own not included"
    )


def _time_slots(expected: Forecast, time_min: int) -> str:
    limit, slots = show_minutes(time_min), expected.time_slots
    if slots is not None:
        return f"{slots} of {limit}, so {slots - 1} requeues"
    least = expected.least_time_slots
    known = "of" if least is None else f"at least {least} of"
    return f"{known} {limit}; it is queued again until it is done"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
