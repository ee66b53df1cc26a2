"""What a training starts with: the other ranks, a model, and what was compiled before."""

from pathlib import Path

import psutil
import torch

from pipeline.checkpoint.weights import weights_from
from pipeline.collective import Collective, connect
from pipeline.config import Config
from pipeline.engine.compilation import compiled_so_far, load_compiled, save_compiled
from pipeline.errors import UserError
from pipeline.log import info
from pipeline.models.build import TimmModel, build_model
from pipeline.models.computing import set_computing
from pipeline.models.kernels.choice import choose_kernels
from pipeline.models.memory import check_memory
from pipeline.models.metaformer import MetaFormer
from pipeline.models.weights import load_weights
from pipeline.tracking.claim import run_folder_of
from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.tracker import Tracker
from pipeline.world import World

COMPILED = "compiled"
"""In the run's folder: what torch.compile made, for the next start, on whatever node that is."""


def join(config: Config, world: World) -> Collective:
    """Meet the other ranks; whoever keeps them waiting is named in the run's logs.

    Raises UserError on all of them where model.kernels does not mean the same to each.
    """
    logs = run_folder_of(config).logs
    collective = connect(world, config.device, config.engine.collective_timeout_s, logs)
    _agree_on_kernels(config, collective)
    return collective


def _agree_on_kernels(config: Config, collective: Collective) -> None:
    node = collective.world.node_name

    def choose() -> str:
        try:
            return choose_kernels(config)
        except UserError as error:
            raise UserError(f"node {node}: {error}") from None

    chosen = collective.gather((node, collective.all_or_error(choose)))
    nodes = {
        kernels: sorted({node for node, theirs in chosen if theirs == kernels})
        for _, kernels in chosen
    }
    if len(nodes) > 1:
        raise UserError(
            f"model.kernels={config.model.kernels} is torch on {', '.join(nodes['torch'])}, where "
            f"Triton is not installed, and triton on {', '.join(nodes['triton'])}; install Triton "
            "on all nodes, or set model.kernels=torch"
        )


def start_model(config: Config, device: torch.device) -> MetaFormer | TimmModel:
    """Build it, take weights from model.init_from, and set how it is computed.

    fp32, on the CPU. Raises UserError where it cannot be built, does not fit into the device's
    memory, or is not what the weights belong to.
    """
    settings, side = config.model, config.augment.img_size
    check_memory(
        settings, side, config.train.micro_batch, config.engine.dtype, _available_bytes(device)
    )
    model = build_model(settings, config.seed, side)
    if settings.init_from is not None:
        state = weights_from(_place(settings.init_from, config.runs_root))
        load_weights(
            model, state, settings.init_from, settings.num_classes, new_head=settings.new_head
        )
    if config.engine.grad_checkpointing:
        model.set_grad_checkpointing()
    set_computing(model, config)
    if config.engine.compile:
        load_compiled(run_folder_of(config).path / COMPILED)
    return model


class Compilation:
    """Tells what torch.compile has cost a run, and keeps what it made; on the main rank alone."""

    def __init__(self, folder: RunFolder, world: World, tracker: Tracker):
        self._kept, self._is_main, self._tracker = folder.path / COMPILED, world.is_main, tracker
        self._told = compiled_so_far()

    def settle(self) -> None:
        """Between two steps; does nothing where nothing was compiled since the last call."""
        before, self._told = self._told, compiled_so_far()
        if not self._is_main or self._told.graphs == before.graphs:
            return
        info(f"torch.compile: {self._told}")
        self._tracker.tags({"compiled": str(self._told)})
        # A few files instead of hundreds, on a file system that all nodes read.
        if self._told.passes_compiled > before.passes_compiled or not self._kept.exists():
            save_compiled(self._kept)


def _place(name: str, runs_root: str) -> Path:
    """A path as it stands, or the run of that name."""
    run = Path(runs_root) / name
    return run if run.is_dir() and not Path(name).exists() else Path(name)


def _available_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
