"""What both benchmarks refuse before anything is measured."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.gpu import __main__ as training
from tests.benchmarks.gpu import command, loading

MISTAKES = [
    (["--device", "cpu"], "--device cpu needs --smoke"),
    (["--device", "cpu", "--smoke"], "--smoke needs --out"),
    (["--budget-s", "0"], "--budget-s 0 must be more than 0"),
    (["--out", "nowhere"], "--out nowhere is no folder"),
    (["--photos", "nowhere"], "--photos: nowhere is no folder"),
    (["--photos", str(Path(__file__).parent)], "has no *.jpg or *.jpeg in class folders"),
    ([], "NVML finds no GPU"),
]


@pytest.mark.parametrize(
    ("main", "words", "told"),
    [(main, *mistake) for main in (training.main, loading.main) for mistake in MISTAKES]
    + [(loading.main, ["--memory-s", "0"], "--memory-s 0 must be more than 0")],
)
def test_mistakes_are_refused(
    main: Callable[[], int],
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    monkeypatch.setattr(command, "gpu_facts", dict)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and told in capsys.readouterr().err
