"""The model that a training starts with: others' weights, frozen parts, compiled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.collective import Collective
from pipeline.config.schema import Config
from pipeline.engine.compilation import Compiled, compiled_so_far
from pipeline.errors import UserError
from pipeline.optim import build_optimizer
from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.tracker import SilentTracker
from pipeline.train.start import Compilation, join, start_model
from pipeline.world import World

CPU = torch.device("cpu")


def config_of(engine: dict[str, Any] | None = None, **model: Any) -> Config:
    network = {"metaformer": {"depths": [1], "dims": [8]}, "num_classes": 10}
    return Config.model_validate(
        {
            "device": "cpu",
            "augment": {"img_size": 32},
            "engine": {"dtype": "fp32"} | (engine or {}),
            "model": network | model,
            "train": {"global_batch": 4, "micro_batch": 2},
        }
    )


def test_it_starts_from_weights_of_timm(tmp_path: Path) -> None:
    theirs = timm.create_model("poolformer_s12", num_classes=10)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    model = start_model(
        config_of(init_from=str(tmp_path / "theirs.safetensors"), metaformer={}), CPU
    )
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_new_head_keeps_all_but_the_classifier(tmp_path: Path) -> None:
    theirs = start_model(config_of(num_classes=7), CPU)
    path = str(tmp_path / "theirs.safetensors")
    save_file(theirs.state_dict(), path)
    with pytest.raises(UserError, match=r"head\.fc\.weight has 7 classes.*model\.new_head=true"):
        start_model(config_of(init_from=path), CPU)
    model = start_model(config_of(init_from=path, new_head=True), CPU)
    assert torch.equal(model.stem.conv.weight, theirs.stem.conv.weight)
    assert model.head.fc.weight.shape == (10, 8)


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    other = start_model(config_of(metaformer={"depths": [2], "dims": [8]}), CPU)
    path = str(tmp_path / "other.safetensors")
    save_file(other.state_dict(), path)
    with pytest.raises(UserError, match=r"unexpected: stages\.0\.blocks\.1\."):
        start_model(config_of(init_from=path), CPU)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.safetensors: no such file or folder"):
        start_model(config_of(init_from=str(tmp_path / "nothing.safetensors")), CPU)


def test_what_is_frozen_is_not_the_optimizers() -> None:
    config = config_of(freeze=["stem.*", "stages.0.*"])
    model = start_model(config, CPU)
    groups = build_optimizer(model, config.optim, 1e-3).param_groups
    trained = {id(p) for group in groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in trained}
    assert names == {"head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias"}


def test_recomputed_it_is_the_same_to_the_bit() -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    found = []
    for flag in (False, True):
        model = start_model(config_of(engine={"grad_checkpointing": flag}), CPU)
        logits = model(images, scales)
        logits.logsumexp(1).sum().backward()
        found.append([logits.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@torch.no_grad()
def test_compiled_it_is_the_same_function() -> None:
    """Without the backward pass, whose compilation takes half a minute."""
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, compiled = (start_model(config_of(engine={"compile": f}), CPU) for f in (False, True))
    assert list(compiled.state_dict()) == list(plain.state_dict())
    before = compiled_so_far()
    assert torch.allclose(compiled(images), plain(images), atol=1e-6)
    assert compiled_so_far().graphs == before.graphs + 1


class Tags(SilentTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def tags(self, tags: Mapping[str, str]) -> None:
        self.told |= tags


def test_what_was_compiled_is_told_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [Compiled(1, 2, 0, 4.0)] * 2 + [Compiled(2, 3, 1, 5.5)] * 2 + [Compiled(3, 3, 3, 6.0)]
    monkeypatch.setattr("pipeline.train.start.compiled_so_far", iter(counts).__next__)
    kept: list[Path] = []
    monkeypatch.setattr("pipeline.train.start.save_compiled", kept.append)
    tracker, folder = Tags(), RunFolder(tmp_path)
    folder.path.joinpath("compiled").mkdir()
    compilation = Compilation(folder, World(), tracker)
    compilation.settle()
    assert (tracker.told, kept) == ({}, []), "nothing new"
    compilation.settle()
    told = {"compiled": "5.5 s for 2 graphs (3 passes compiled, 1 from the cache)"}
    assert (tracker.told, kept) == (told, [tmp_path / "compiled"])
    compilation.settle()
    compilation.settle()
    assert len(kept) == 1, "all of it came from the cache"
    assert tracker.told["compiled"].startswith("6.0 s for 3 graphs")


class Ranks(Collective):
    """The main one of several, of which the others have said what they choose."""

    def __init__(self, *others: tuple[str, str]):
        super().__init__(World(node_name="a1"))
        self._others = others

    def gather(self, value: Any) -> list[Any]:
        return [value, *(self._others if isinstance(value, tuple) else [])]


def joined(kernels: str, others: Ranks, monkeypatch: pytest.MonkeyPatch) -> Collective:
    monkeypatch.setattr("pipeline.train.start.connect", lambda *_: others)
    return join(Config.model_validate({"model": {"kernels": kernels}}), World())


def test_ranks_that_choose_other_kernels_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    same = Ranks(("b2", "triton"))
    assert joined("auto", same, monkeypatch) is same
    mixed = Ranks(("b2", "triton"), ("c3", "torch"), ("c3", "torch"))
    said = r"auto is torch on c3, where .* and triton on a1, b2; .*or set model\.kernels=torch"
    with pytest.raises(UserError, match=said):
        joined("auto", mixed, monkeypatch)


def test_a_node_without_triton_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"node a1: model\.kernels=triton, but Triton is not inst"):
        joined("triton", Ranks(), monkeypatch)
