"""What several checks find, in one report."""

import pytest

from pipeline.errors import DataError, PipelineError, PreflightError, UserError
from slurm.submit.attempts import Attempts


def failing(*errors: PipelineError) -> Attempts:
    attempts = Attempts()

    def fail(error: PipelineError) -> None:
        raise error

    for error in errors:
        assert attempts.of(lambda error=error: fail(error)) is None
    return attempts


def test_one_error_is_told_as_it_is() -> None:
    error = DataError("a")
    for attempts in (failing(error), failing(error, UserError("a"))):
        with pytest.raises(DataError, match=r"^a$"):
            attempts.raise_any()
    attempts = Attempts()
    assert attempts.of(lambda: 3) == 3
    attempts.raise_any()


@pytest.mark.parametrize(("other", "kind"), [(DataError, DataError), (PreflightError, UserError)])
def test_all_errors_are_told(other: type[PipelineError], kind: type[PipelineError]) -> None:
    with pytest.raises(kind, match=r"^2 things are in the way:\n- a\n  b\n- c$"):
        failing(DataError("a\nb"), other("c")).raise_any()
