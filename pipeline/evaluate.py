"""Loss, top-1 and top-5 over the validation split: every image once, on any number of ranks."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from pipeline.collective import Collective
from pipeline.data.loader import Loader
from pipeline.engine import Engine


@dataclass(frozen=True)
class Scores:
    """Means over the split; top-1 and top-5 in percent."""

    loss: float
    top1: float
    top5: float
    images: int

    def metrics(self) -> dict[str, float]:
        """By their names in the journal."""
        return {"val/loss": self.loss, "val/top1": self.top1, "val/top5": self.top5}


def evaluate(engine: Engine, loader: Loader, collective: Collective) -> Scores:
    """Evaluate; every rank gets the same scores, equal for any world size.

    Batches are fixed by the config and summed in their order, so no world changes a digit.
    """
    # One row per batch, filled by the rank that has it: the sum over ranks only adds zeros.
    rows = torch.zeros(loader.plan.eval_batches, 4, dtype=torch.float64)
    seen = torch.zeros(len(loader.val), dtype=torch.int32)
    # Stage 3 gathers weights in every forward pass: all ranks must make equally many.
    for batch in loader.evaluation():
        logits = engine.logits(batch.images)
        if batch.is_padding:
            continue
        top5 = logits.topk(min(5, logits.shape[1])).indices == batch.targets[:, None]
        rows[batch.index] = torch.tensor(
            [
                cross_entropy(logits, batch.targets, reduction="sum").item(),
                top5[:, 0].sum().item(),
                top5.sum().item(),
                len(batch.ids),
            ],
            dtype=torch.float64,
        )
        seen[torch.from_numpy(batch.ids)] += 1
    collective.total(rows)
    collective.total(seen)
    assert bool((seen == 1).all()), "an image was evaluated twice or never"
    loss, top1, top5, images = rows.sum(dim=0).tolist()
    return Scores(loss / images, 100 * top1 / images, 100 * top5 / images, int(images))
