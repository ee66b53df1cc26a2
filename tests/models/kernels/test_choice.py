"""What model.kernels means, and what it says where it cannot be."""

import importlib.util
from typing import Any

import pytest

from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.models.kernels.choice import choose_kernels
from pipeline.models.stages import plan_stages
from tests.conftest import ROOT, Command


def config_of(model: dict[str, Any], **settings: Any) -> Config:
    return Config.model_validate({"device": "cuda", "model": model} | settings)


POOLING = {"metaformer": {"token_mixers": ["pooling", "pooling", "attention", "attention"]}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (config_of({}), "triton"),
        (config_of(POOLING), "triton"),
        (config_of({}, device="cpu"), "torch"),
        (config_of({}, engine={"compile": True}), "torch"),
        (config_of({}, engine={"memory_format": "contiguous"}), "torch"),
        (config_of({}, engine={"memory_format": "channels_last"}), "triton"),
        (config_of({"kernels": "torch"}), "torch"),
        (config_of({"kernels": "triton"}), "triton"),
        (config_of({"name": "poolformer_m48"}), "torch"),
        (config_of({"metaformer": {"norm": "batch_norm"}}), "torch"),
        (config_of({"metaformer": {"residual": False}}), "torch"),
        (config_of({"metaformer": {"mlp": False}}), "torch"),
        (config_of({"metaformer": {"pool_size": 11}}), "torch"),
    ],
)
def test_auto_is_triton_where_that_can_be(config: Config, expected: str) -> None:
    pytest.importorskip("triton")
    assert choose_kernels(config) == expected


def test_without_triton_all_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_kernels(config_of({})) == "torch"
    with pytest.raises(UserError, match=r"model\.kernels=triton, but Triton is not installed; pip"):
        choose_kernels(config_of({"kernels": "triton"}))


def test_on_a_cpu_triton_is_its_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    config = config_of({"kernels": "triton"}, device="cpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_kernels(config) == "triton"
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(UserError, match=r"needs device=cuda.*set model\.kernels=auto"):
        choose_kernels(config)


def test_each_stage_is_judged_by_itself() -> None:
    stages = plan_stages(config_of(POOLING).model.metaformer, 224)
    assert [stage.suits_kernels for stage in stages] == [True, True, False, False]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.kernels=trtion", "did you mean triton?"),
        ("engine.memory_format=contiguous", "memory_format=auto, or model.kernels=torch"),
        ("engine.compile=true", "use model.kernels=auto, or engine.compile=false"),
        ("model.name=resnet18", "name=resnet18 is not metaformer; use kernels=auto"),
        ("model.metaformer.mlp=false", "no stage has token_mixers=pooling, norm=group_norm"),
    ],
)
def test_a_config_that_cannot_be_is_refused(override: str, said: str, command: Command) -> None:
    words = ["model.kernels=triton"] if "kernels" not in override else []
    done = command("-m", "pipeline.config", ROOT / "configs/digits.yaml", *words, override)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split()), done.stderr


def test_choosing_imports_neither_torch_nor_triton(command: Command) -> None:
    code = (
        "import sys, pipeline.models.kernels.choice as choice; from pipeline.config import Config;"
        "choice.choose_kernels(Config()); print({'torch', 'triton'} & sys.modules.keys())"
    )
    done = command("-c", code)
    assert done.stdout.strip() == "set()", done.stderr
