"""Weights from files: every form, every name, and an error for every difference."""

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models.build import build_model, weights_of
from pipeline.models.names import convert_names
from pipeline.models.weights import load_weights, read_weights

SMALL = {"depths": [1, 1], "dims": [32, 64], "token_mixers": ["pooling", "spatial_fc"]}


def model_of(seed: int = 0, classes: int = 10, name: str = "metaformer", img_size: int = 32):
    config = ModelConfig.model_validate({"name": name, "num_classes": classes, "metaformer": SMALL})
    return build_model(config, seed, img_size)


def is_equal(one: nn.Module, other: nn.Module, but: str = "-") -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for (name, a), b in pairs if not name.startswith(but))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pth.tar", ".pt", ".bin"])
def test_every_kind_of_file_is_read(tmp_path: Path, suffix: str) -> None:
    source, target, path = model_of(0), model_of(1), tmp_path / f"weights{suffix}"
    assert not is_equal(source, target)
    save = save_file if suffix == ".safetensors" else torch.save
    save(convert_names(source.state_dict(), "original"), path)
    load_weights(target, read_weights(path), str(path), 10)
    assert is_equal(source, target)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "state_dict_ema"])
def test_checkpoints_are_unwrapped(tmp_path: Path, wrapper: str) -> None:
    source, target, path = model_of(0), model_of(1), tmp_path / "model.pth"
    state = {f"module.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, path)
    load_weights(target, read_weights(path), str(path), 10)
    assert is_equal(source, target)


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights .*no such file or folder; name a \.safetensors"):
        read_weights(tmp_path / "missing.pth")
    for name in ("torn.safetensors", "torn.pth"):
        (tmp_path / name).write_bytes(b"\x10" * 40)
        with pytest.raises(UserError, match=rf"{name}.*(not readable|weights alone)"):
            read_weights(tmp_path / name)
    (tmp_path / "weights.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"\.onnx is none of \.safetensors, \.pth"):
        read_weights(tmp_path / "weights.onnx")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(UserError, match="no tensors by name"):
        read_weights(tmp_path / "empty.pt")


class Trap:
    """What a pickle could do."""

    def __reduce__(self):
        return print, ("run by the pickle",)


def test_a_pickle_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UserError, match="no file of weights alone"):
        read_weights(tmp_path / "trap.pth")
    assert "run by" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["metaformer", "resnet18", "poolformer_s12", "identityformer_s12"])
def test_another_number_of_classes_names_the_setting(name: str) -> None:
    source, target = model_of(0, classes=7, name=name), model_of(1, classes=10, name=name)
    state = weights_of(source).state_dict()
    with pytest.raises(UserError, match=r"x\.pth: .*7 classes.*num_classes=10; set.*=7.*new_head"):
        load_weights(target, state, "x.pth", 10)
    head = {"resnet18": "fc."}.get(name, "head.fc.")
    before = {n: t.clone() for n, t in weights_of(target).state_dict().items()}
    load_weights(target, state, "x.pth", 10, new_head=True)
    for key, tensor in weights_of(target).state_dict().items():
        assert torch.equal(tensor, before[key] if key.startswith(head) else state[key]), key


def test_a_new_head_is_new_even_where_the_classes_agree() -> None:
    source, target = model_of(0), model_of(1)
    before = target.head.fc.weight.clone()
    load_weights(target, source.state_dict(), "x", 10, new_head=True)
    assert torch.equal(target.head.fc.weight, before)
    assert is_equal(source, target, but="head.fc.")


def test_differences_are_named() -> None:
    state = dict(model_of().state_dict())
    removed = state.pop("stem.conv.bias")
    with pytest.raises(UserError, match=r"1 missing: stem\.conv\.bias"):
        load_weights(model_of(), state, "x", 10)
    state |= {"stem.conv.bias": removed, "stages.4.blocks.0.norm1.bias": removed}
    with pytest.raises(UserError, match=r"1 unexpected: stages\.4"):
        load_weights(model_of(), state, "x", 10)


def test_weights_of_another_image_size_name_it() -> None:
    state = model_of(img_size=32).state_dict()
    with pytest.raises(UserError, match=r"fc\.weight is \(16, 16\) there, \(64, 64\) here.*img_si"):
        load_weights(model_of(img_size=64), state, "x", 10)


def test_timms_poolformer_takes_the_original_names() -> None:
    source = model_of(0, name="poolformer_s12")
    target = model_of(1, name="poolformer_s12")
    load_weights(target, convert_names(weights_of(source).state_dict(), "original"), "x", 10)
    assert is_equal(source, target)
