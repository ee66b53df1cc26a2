"""Checks that do not depend on each other: what all of them find, in one report."""

from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import PipelineError, UserError

Result = TypeVar("Result")


class Attempts:
    """Calls checks, and keeps what they raise until all have been called."""

    def __init__(self) -> None:
        self._errors: list[PipelineError] = []

    def of(self, check: Callable[[], Result]) -> Result | None:
        """What the check returns; None where it has failed."""
        try:
            return check()
        except PipelineError as error:
            self._errors.append(error)
            return None

    def raise_any(self) -> None:
        """Raise what was found: the one error itself, or a list; UserError for several kinds."""
        texts = dict.fromkeys(str(error).replace("\n", "\n  ") for error in self._errors)
        if len(texts) == 1:
            raise self._errors[0]
        if not texts:
            return
        kinds = {type(error) for error in self._errors}
        kind = kinds.pop() if len(kinds) == 1 else UserError
        raise kind("\n- ".join([f"{len(texts)} things are in the way:", *texts]))
