"""The tracker of one launch, ended as FAILED where the training raises."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.shards import ShardSplit
from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.tracker import Tracker, open_tracker

if TYPE_CHECKING:
    from pipeline.collective import Collective

_VERSIONED = ("torch", "deepspeed", "timm")


@contextlib.contextmanager
def tracking(
    collective: "Collective",
    folder: RunFolder,
    config: Config,
    facts: Mapping[str, str],
    splits: Sequence[ShardSplit],
) -> Iterator[Tracker]:
    """Open the tracker on every rank; ``facts`` are further tags. The caller ends it.

    The journal's lock keeps a second job out of the run, so checkpoints are opened within.
    """
    versions = {f"{name}_version": version(name) for name in _VERSIONED}
    tracker = collective.all_or_error(
        lambda: open_tracker(folder.path, config, collective.world, versions | dict(facts))
    )
    for split in splits:
        tracker.dataset(split.dataset, split.split, split.digest, len(split))
    try:
        yield tracker
    except BaseException as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        tracker.end("FAILED", {"error": reason})
        raise
