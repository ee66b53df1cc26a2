"""The tracker of one launch, ended as FAILED where the training raises."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.models.kernels.choice import choose_kernels, choose_order
from pipeline.shards import ShardSplit
from pipeline.tracking.opening import open_tracker
from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.tracker import Tracker

if TYPE_CHECKING:
    from pipeline.collective import Collective

_VERSIONED = ("torch", "deepspeed", "timm")
_DIGEST_LENGTH = 12


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
    known = {f"{name}_version": version(name) for name in _VERSIONED}
    known |= {
        "kernels": choose_kernels(config),
        "memory_order": choose_order(config) or "as loaded",
    }
    known |= {"data_digest": data_digest(splits), **facts}
    # Those where ranks are, whoever has started them.
    nodes = list(dict.fromkeys(collective.gather(collective.world.node_name)))
    tracker = collective.all_or_error(
        lambda: open_tracker(folder.path, config, collective.world, known, nodes)
    )
    for split in splits:
        tracker.dataset(split.dataset, split.split, split.digest, len(split))
    try:
        yield tracker
    except BaseException as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        tracker.end("FAILED", {"error": reason})
        raise


def data_digest(splits: Sequence[ShardSplit]) -> str:
    """The same where all splits have the same name and the same bytes: 12 hex digits."""
    lines = [f"{split.dataset}-{split.split} {split.digest}\n" for split in splits]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:_DIGEST_LENGTH]
