"""Which training a run folder belongs to: one config (but for free settings), one data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config import Config, read_resolved
from pipeline.config.load import training_differences, write_resolved
from pipeline.durable import write_file
from pipeline.errors import UserError
from pipeline.shards import ShardSplit
from pipeline.tracking.run_folder import RunFolder, read_run_info, update_run_info

_SHOWN_DIFFERENCES = 8


def run_folder_of(config: Config) -> RunFolder:
    """The folder of a config's run; nothing is created."""
    return RunFolder(Path(config.runs_root) / config.name)


def check_claim(config: Config, digests: Mapping[str, str] | None = None) -> RunFolder:
    """The run's folder, if this config and these shards may train in it.

    digests: sha256 (hex) per ``<dataset>-<split>``; None leaves the data unchecked. Raises
    UserError where the folder holds a run with other settings or other data.
    """
    folder = run_folder_of(config)
    if folder.config.is_file():
        differences = training_differences(config, read_resolved(folder.config))
        if differences:
            listed = "".join(f"\n  {text}" for text in differences[:_SHOWN_DIFFERENCES])
            more = len(differences) - _SHOWN_DIFFERENCES
            listed += f"\n  and {more} more" if more > 0 else ""
            raise UserError(
                f"{folder.path} holds a run with another config:{listed}\n"
                f"use another name (name={config.name}-2), those settings, or delete the folder"
            )
    known = read_run_info(folder.path).get("datasets")
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
    folder = check_claim(config, digests)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_file(folder.config, write_resolved(config).encode())
    update_run_info(folder.path, datasets=digests)
    return folder


def _short(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(digests.items()))
