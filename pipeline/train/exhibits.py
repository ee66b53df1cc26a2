"""What a run shows beside its curves: the first batch it trained on, and what it mistakes."""

import io
from collections.abc import Sequence

from pipeline.checkpoint import Progress
from pipeline.config import Config
from pipeline.data.batches import Step
from pipeline.data.show import SHOWN_IMAGES, draw_batch
from pipeline.evaluate.csv_text import classes_csv, confusions_csv
from pipeline.evaluate.report import class_scores, confusions
from pipeline.evaluate.scores import Predictions
from pipeline.plan import Plan
from pipeline.shards import ShardSplit
from pipeline.tracking.tracker import Tracker

MOST_CONFUSIONS = 1000
LAST = "last/"
"""Where the tables of the last evaluation lie; those of the best one lie at the top."""


class Exhibits:
    """Hands files to the tracker, which makes them on the main rank alone."""

    def __init__(self, config: Config, plan: Plan, splits: Sequence[ShardSplit], tracker: Tracker):
        self._config, self._plan, self._tracker = config, plan, tracker
        self._trained, self._evaluated = (split.classes for split in splits)

    def batch(self, step: Step) -> None:
        """The run's first batch as the model got it; the same on any world, as it is micro-batch 0.

        Does nothing at later steps.
        """
        if step.number == 0:
            self._tracker.artifact("batch.png", lambda: self._sheet(step))

    def answers(self, found: Predictions, progress: Progress) -> None:
        """Tables of an evaluation that is the best so far, or the last.

        progress: with that evaluation noted.
        """
        if progress.best_step == progress.step:
            self._tables("", found)
        if progress.step == self._plan.total_steps:
            self._tables(LAST, found)

    def _sheet(self, step: Step) -> bytes:
        _, sheet = draw_batch(self._config, step.number, step.slots[0], self._trained, SHOWN_IMAGES)
        file = io.BytesIO()
        sheet.save(file, "PNG")
        return file.getvalue()

    def _tables(self, place: str, found: Predictions) -> None:
        answers = (found.labels, found.top, self._evaluated)
        self._tracker.artifact(
            f"{place}confusions.csv",
            lambda: confusions_csv(confusions(*answers), MOST_CONFUSIONS).encode(),
        )
        self._tracker.artifact(
            f"{place}classes.csv", lambda: classes_csv(class_scores(*answers)).encode()
        )
