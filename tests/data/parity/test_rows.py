"""The rows hold on photographs that anybody has, and break where something is a little off."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.mixing import Mix
from pipeline.data.augment.operations import ENHANCE, SIGNED_RANGES, Op
from pipeline.data.mix import mixed_targets
from pipeline.data.parity import __main__ as command_line
from pipeline.data.parity import mixing, operations, pixels, proof
from pipeline.data.parity.distributions import distribution_rows
from pipeline.data.parity.images import crafted_files, photographs_in, shipped_photographs
from pipeline.data.parity.rows import Measure, Row, as_json, table
from pipeline.data.parity.sheet import draw_sheet
from pipeline.errors import DataError, UserError

PAPER = AugmentConfig()
SMALL = AugmentConfig(img_size=64)
PHOTOGRAPHS = shipped_photographs()
DRAWS = 3000


def broken(rows: Iterator[Row]) -> list[str]:
    return [f"{row.section}: {row.what}: {row.measures}" for row in rows if not row.ok]


def test_files() -> None:
    rows = list(
        pixels.pixel_rows(PHOTOGRAPHS, crafted_files(PHOTOGRAPHS[0]), PAPER, EvaluateConfig())
    )
    assert broken(iter(rows)) == []
    assert {row.section.partition(" beside")[0] for row in rows} == {
        "Evaluation",
        "Training crop",
        "All of training",
    }


def test_operations() -> None:
    rows = list(operations.operation_rows(PHOTOGRAPHS, PAPER))
    assert broken(iter(rows)) == []
    named = {word for row in rows for word in row.what.replace(",", "").split()}
    assert named >= {op.name for op in Op if op != Op.NONE}


def test_draws() -> None:
    rows = list(distribution_rows(PAPER, PAPER, DRAWS))
    assert broken(iter(rows)) == []
    assert all(np.isfinite(measure.value) for row in rows for measure in row.measures)


@pytest.mark.parametrize(
    "other",
    [
        {"aa": None, "color_jitter": 0.3, "recount": 3, "remode": "rand"},
        {"aa": "rand-m15-n3-p0.7-mstd101-mmax20", "train_interpolation": "bilinear"},
        {"cutmix": 0.0, "remode": "const", "reprob": 0.9, "img_size": 32, "hflip": 0.0},
    ],
)
def test_draws_of_other_recipes(other: dict[str, Any]) -> None:
    config = AugmentConfig.model_validate(other)
    assert broken(distribution_rows(config, config, 1000)) == []


def test_mixing() -> None:
    assert broken(mixing.mixing_rows(PHOTOGRAPHS, PAPER)) == []


@pytest.mark.photos
@pytest.mark.skipif(not os.environ.get("SAMPLE_PHOTOS"), reason="SAMPLE_PHOTOS names no folder")
def test_real_photographs() -> None:
    photographs = photographs_in(Path(os.environ["SAMPLE_PHOTOS"]))[::8]
    crafted = crafted_files(photographs[0])
    assert broken(pixels.pixel_rows(photographs, crafted, PAPER, EvaluateConfig())) == []
    assert broken(operations.operation_rows(photographs, PAPER)) == []


def nudged(op: Op, argument: float) -> float:
    """An argument that is a little off."""
    if op in ENHANCE:
        return argument * 1.15
    steps = {op: most / 50 for op, most in SIGNED_RANGES.items()}
    return argument + steps.get(op, 1.0)


def test_a_little_off_breaks_every_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    timms, jittered = operations.theirs.operated, operations.theirs.jittered

    def off(square: np.ndarray, op: Op, argument: float, *rest: Any) -> np.ndarray:
        if op in (Op.AUTO_CONTRAST, Op.EQUALIZE, Op.INVERT):
            return square
        return timms(square, op, nudged(op, argument), *rest)

    monkeypatch.setattr(operations.theirs, "operated", off)
    monkeypatch.setattr(operations.theirs, "fill_of", lambda mean: (124, 116, 105))
    monkeypatch.setattr(
        operations.theirs, "jittered", lambda square, ops, f: jittered(square, ops[::-1], f[::-1])
    )
    # What is known to differ has wide bounds, and beyond a bound nothing changes any more.
    loose = ["SOLARIZE 256", "SOLARIZE_ADD 128", "POSTERIZE 8"]
    loose += [case.text for case in operations.cases() if case.is_substituted]
    ok = [row.what for row in operations.operation_rows(PHOTOGRAPHS[1:], SMALL) if row.ok]
    assert [what for what in ok if what not in loose] == []


def test_a_pixel_off_breaks_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda *arguments: np.roll(function(*arguments), 1, axis=1)

    for name in ("evaluated", "cropped", "resized_in_float"):
        monkeypatch.setattr(pixels.theirs, name, shifted(getattr(pixels.theirs, name)))
    rows = list(pixels.pixel_rows(PHOTOGRAPHS, [], SMALL, EvaluateConfig()))
    assert len(rows) > 10 and not any(row.ok for row in rows)


def test_unflipped_images_break_all_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pixels.theirs.cropped
    monkeypatch.setattr(pixels.theirs, "cropped", lambda *a: theirs(*a[:-1], False))
    *_, row = pixels.pixel_rows(PHOTOGRAPHS[:1], [], SMALL, EvaluateConfig())
    assert row.section.startswith("All of training") and not row.ok


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (
            {"aa": "rand-m8-mstd0.5-inc1", "hflip": 0.4, "reprob": 0.3, "mixup": 0.4},
            {
                *("argument of ROTATE", "argument of SOLARIZE", "argument of SHARPNESS"),
                *("crop's filter, flip", "erasing, boxes per image", "mixup"),
            },
        ),
        (
            {"aa": "rand-m9-mstd0.5", "remode": "const", "cutmix": 0.5, "color_jitter": 0.3},
            {
                *("argument of COLOR", "argument of POSTERIZE", "erasing's values", "cutmix"),
                "colour jitter's factors",
            },
        ),
        (
            {"aa": "rand-m9-p0.6-mstd0.5-inc1", "recount": 2, "mixup_switch_prob": 0.6},
            {"operations", "erasing, box", "mixup or cutmix"},
        ),
        (
            {"ratio": (0.7, 4 / 3), "train_interpolation": "bicubic"},
            {"crop, image of 500 x 375", "crop's filter, flip", "operations' filters"},
        ),
    ],
)
def test_draws_by_another_recipe_break(other: dict[str, Any], what: set[str]) -> None:
    rows = distribution_rows(PAPER, AugmentConfig.model_validate(other), 2000)
    found = {row.what for row in rows if not row.ok}
    assert found >= what
    assert ("mixup" in found) == ("mixup" in other) and "colour jitter" not in found


def test_another_mix_or_mean_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    normaliser = mixing.Normaliser

    def darker(config: AugmentConfig, *rest: Any) -> Any:
        return normaliser(config.model_copy(update={"mean": (0.485, 0.456, 0.4061)}), *rest)

    monkeypatch.setattr(mixing, "Normaliser", darker)
    monkeypatch.setattr(
        mixing,
        "mixed_targets",
        lambda labels, mix, count: mixed_targets(labels, Mix(mix.lam * 0.999, None), count),
    )
    ok = {row.what for row in mixing.mixing_rows(PHOTOGRAPHS, PAPER) if row.ok}
    assert all(what.startswith(("not mixed", "mixup in the loader")) for what in ok)


ROWS = [
    Row("Part one", "good", (Measure("mean", 0.25, 0.5), Measure("max", 3, 4))),
    Row("Part two", "unlikely", (Measure("p", 1e-9, 1e-4, is_least=True),)),
    Row("Part two", "no number", (Measure("mean", float("nan"), 1),)),
]


def test_table_and_json() -> None:
    assert [row.ok for row in ROWS] == [True, False, False]
    lines = table(ROWS).splitlines()
    assert lines[0] == "Part one" and lines[2].split() == [
        *("good", "mean", "0.25", "max", "3", "≤", "0.5", "≤", "4", "ok")
    ]
    assert lines[-1].endswith("NO")
    facts = as_json(ROWS)
    assert facts[0]["bound"] == {"mean": {"at_most": 0.5}, "max": {"at_most": 4}}
    assert facts[2]["measured"] == {"mean": None} and not facts[2]["ok"]


def run(monkeypatch: pytest.MonkeyPatch, rows: list[Row], *arguments: object) -> int:
    monkeypatch.setattr(proof, "parts", lambda *_: {"all": iter(rows)})
    monkeypatch.setattr(sys, "argv", ["parity", *map(str, arguments)])
    return command_line.main()


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sheet.png"
    assert run(monkeypatch, ROWS[:1], "--out", out) == 0
    assert out.stat().st_size > 100_000
    assert "2 photographs; timm" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"2 of 3 rows miss their bounds: Part two: unlikely"):
        run(monkeypatch, ROWS, "--out", out, "--json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is False and len(facts["rows"]) == 3


def test_command_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = tmp_path / "sheet.png"
    with pytest.raises(UserError, match="is no folder"):
        run(monkeypatch, ROWS, "--images", tmp_path / "none", "--out", sheet)
    with pytest.raises(UserError, match="holds no file"):
        run(monkeypatch, ROWS, "--images", tmp_path, "--out", sheet)
    (tmp_path / "half.jpg").write_bytes(PHOTOGRAPHS[0].file.tobytes()[:9000])
    with pytest.raises(DataError, match=r"half\.jpg: PIL cannot decode it"):
        run(monkeypatch, ROWS, "--images", tmp_path, "--out", sheet)
    with pytest.raises(UserError, match="there is no folder"):
        run(monkeypatch, ROWS, "--out", tmp_path / "none" / "sheet.png")


def test_sheet_of_a_single_photograph() -> None:
    sheet = draw_sheet(PHOTOGRAPHS[:1], PAPER, EvaluateConfig())
    colours = sheet.getcolors(maxcolors=2**20)
    assert colours is not None and len(colours) > 10_000
