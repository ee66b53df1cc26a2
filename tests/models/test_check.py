"""The paper's figures, all of them, and the command that shows them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.errors import PipelineError, UserError
from pipeline.models import __main__ as command
from pipeline.models import check
from pipeline.models.check import Row, agrees, rows
from pipeline.paper import Figures, figures

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return list(rows(figures(), CONFIGS))


def test_all_agree(found: list[Row]) -> None:
    assert [row for row in found if row.ok is False] == []


def test_every_figure_has_a_row(found: list[Row]) -> None:
    named = {(row.group, row.name) for row in found}
    paper = figures()
    for group, models in (
        ("Table 1", paper.sizes),
        ("Table 5", paper.ablations),
        ("Table 2", paper.peers),
        ("follow-up", paper.follow_up),
    ):
        assert {(group, model.name) for model in models} <= named
    exact = [row for row in found if row.figure == "parameters"]
    assert len(exact) == 5 + 18 and all(row.paper == row.ours for row in exact)
    lacking = {row.name for row in found if row.ok is None}
    assert lacking == {peer.name for peer in paper.peers if peer.timm is None}


def test_each_ablation_has_a_config_and_each_config_a_row() -> None:
    files = {f"ablations/{path.name}" for path in (CONFIGS / "ablations").glob("*.yaml")}
    assert files == {model.config for model in figures().ablations}


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "ablations").glob("*.yaml")), ids=lambda p: p.stem
)
def test_ablation_says_its_command_and_the_papers_result(path: Path) -> None:
    (model,) = [m for m in figures().ablations if m.config == f"ablations/{path.name}"]
    title, run, hardware, expected = path.read_text().splitlines()[:4]
    assert "Table 5" in title and f"{model.parameters_m:.1f}M" in title
    assert run.endswith(f" configs/ablations/{path.name}") and hardware.startswith("# Hardware: ")
    assert expected.endswith(f"; top-1 {model.top1:.1f} (paper)")
    assert load(path).config.name == path.stem


def changed(**changes: object) -> Figures:
    """The paper with another S12 alone."""
    model = figures().sizes[0].model_copy(update=changes)
    empty = {"ablations": [], "peers": [], "follow_up": []}
    return figures().model_copy(update={"sizes": [model], **empty})


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"parameters": 11_915_177}, "parameters"),
        ({"parameters_m": 12.4}, "parameters, M"),
        ({"macs_g": 1.9}, "MACs, G"),
        ({"settings": {"model.drop_path": 0.2}}, "settings"),
        ({"config": "m48.yaml"}, "settings"),
    ],
)
def test_a_difference_is_seen(changes: dict[str, object], figure: str) -> None:
    assert figure in [row.figure for row in rows(changed(**changes), CONFIGS) if row.ok is False]


@pytest.mark.parametrize(
    ("printed", "ours", "expected"),
    [
        (1.8, 1.812, True),
        (12, 11.69, True),
        (0.2, 0.235, True),
        (0.2, 0.251, False),
        (20, 19.42, False),
        (63.6, 61.555, False),
    ],
)
def test_agreement(printed: float, ours: float, expected: bool) -> None:
    assert agrees(printed, ours) is expected


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["models", *words])
    return command.main()


def test_check_ends_well_or_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: list[Row]
) -> None:
    monkeypatch.setattr(check, "rows", lambda *_: iter(found))
    assert run(monkeypatch, "--check") == 0
    assert "DIFFERS" not in capsys.readouterr().out
    broken = [replace(found[0], ok=False), *found[1:]]
    monkeypatch.setattr(check, "rows", lambda *_: iter(broken))
    with pytest.raises(PipelineError, match=r"1 of \d+ figures differ.*S12") as caught:
        run(monkeypatch, "--check", "--json")
    assert caught.value.exit_code == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_models_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    config, batch = str(CONFIGS / "ablations/attention_last.yaml"), "train.micro_batch=4"
    assert run(monkeypatch, config, batch) == 0
    text = capsys.readouterr().out
    for word in ("stage 4     7  attention", "14,038,440 trained, 0 frozen", "1.920 G", "GB per"):
        assert word in text
    assert run(monkeypatch, config, batch, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["part"] for row in facts["parts"]] == [
        "stem",
        *(f"stage {i}" for i in (1, 2, 3, 4)),
        "head",
    ]
    assert sum(row["macs"] for row in facts["parts"]) == facts["macs"]
    assert facts["activation_bytes"] > 10**7 and "autograd" in facts["activation_method"]


def test_timms_models_have_one_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = (str(CONFIGS / "s12.yaml"), "model.name=caformer_s18", "train.micro_batch=2")
    assert run(monkeypatch, *words) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.split() == ["part", "parameters", "frozen", "MACs"]
    assert second.split()[:2] == ["caformer_s18", "26,341,656"]


@pytest.mark.parametrize("words", [(), ("--check", "configs/s12.yaml")])
def test_a_config_or_check(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="name a config file"):
        run(monkeypatch, *words)
