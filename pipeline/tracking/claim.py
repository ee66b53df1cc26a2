"""Which training a run folder belongs to: one config (but for free settings), one data set.

And one kind of kernels: what model.kernels=auto means, another machine may answer otherwise.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config import Config, read_resolved
from pipeline.config.load import training_differences, write_resolved
from pipeline.durable import write_file
from pipeline.errors import UserError
from pipeline.log import info
from pipeline.models.kernels.choice import choose_kernels, choose_order
from pipeline.shards import ShardSplit
from pipeline.tracking.run_folder import RunFolder, read_run_info, update_run_info

_SHOWN_DIFFERENCES = 8


def run_folder_of(config: Config) -> RunFolder:
    """The folder of a config's run; nothing is created."""
    return RunFolder(Path(config.runs_root) / config.name)


def check_claim(
    config: Config, digests: Mapping[str, str] | None = None, kernels: str | None = None
) -> RunFolder:
    """The run's folder, if this config, these shards and these kernels may train in it.

    digests: sha256 (hex) per ``<dataset>-<split>``; None leaves the data unchecked. kernels: torch
    or triton; None where the machine that trains has yet to say. Raises UserError where the
    folder holds a run with other settings, other data or other kernels.
    """
    folder = run_folder_of(config)
    run_info = read_run_info(folder.path)
    if folder.config.is_file():
        theirs = _with_kernels(read_resolved(folder.config), config.model.kernels)
        differences = training_differences(config, theirs)
        if differences:
            listed = "".join(f"\n  {text}" for text in differences[:_SHOWN_DIFFERENCES])
            more = len(differences) - _SHOWN_DIFFERENCES
            listed += f"\n  and {more} more" if more > 0 else ""
            raise UserError(
                f"{folder.path} holds a run with another config:{listed}\n"
                f"use another name (name={config.name}-2), those settings, or delete the folder"
            )
        # Runs without this record are older than all other kernels.
        _check_kernels(folder, config, kernels, run_info.get("kernels", "torch"))
    known = run_info.get("datasets")
    if digests is not None and known is not None and known != dict(digests):
        raise UserError(
            f"{folder.path} was trained on other shards than data.root={config.data.root}: its "
            f"run.json says {_short(known)}, there are {_short(digests)}; use those shards or "
            "another name"
        )
    return folder


def claim(config: Config, splits: Sequence[ShardSplit]) -> RunFolder:
    """Check and then mark the run's folder as this config's and these shards'."""
    digests = {f"{split.dataset}-{split.split}": split.digest for split in splits}
    kernels = choose_kernels(config)
    folder = check_claim(config, digests, kernels)
    # First: a config without a record of its kernels is an older run's.
    update_run_info(folder.path, datasets=digests, kernels=kernels)
    write_file(folder.config, write_resolved(config).encode())
    order = choose_order(config) or "as loaded"
    info(f"computed with: model.kernels={kernels}, memory order {order}")
    return folder


def _with_kernels(config: Config, wanted: str) -> Config:
    model = config.model.model_copy(update={"kernels": wanted})
    return config.model_copy(update={"model": model})


def _check_kernels(folder: RunFolder, config: Config, ours: str | None, known: str) -> None:
    """However they were asked for: those that compute decide the last digits of the losses."""
    wanted = config.model.kernels
    ours = ours or (known if wanted == "auto" else wanted)
    if ours != known:
        means = f"model.kernels={wanted}" + (f" is {ours} here" if wanted == "auto" else "")
        raise UserError(
            f"{folder.path} was trained with model.kernels={known}, and {means}: the losses would "
            f"differ; set model.kernels={known} where that can be, or use another name "
            f"(name={config.name}-2)"
        )


def _short(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(digests.items()))
