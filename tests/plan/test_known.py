"""The committed table that forecasts go by says what is true."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, load
from pipeline.plan.known import (
    FILE,
    Gpu,
    KnownModel,
    Speed,
    gpu_named,
    known_model,
    measured_speeds,
    table,
    trained_parameters,
)
from pipeline.plan.network import parse_link

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


def config_of(name: str, *overrides: str) -> Config:
    return load(CONFIGS / name, overrides).config


def test_every_config_is_in_the_table() -> None:
    there = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")}
    assert {row.config for row in table().models} == there - {"base.yaml"}


@pytest.mark.parametrize("row", table().models, ids=lambda row: row.config)
def test_the_models_figures_are_true(row: KnownModel) -> None:
    from pipeline.models.cost import activation_bytes, model_cost

    batch = ["train.micro_batch=64", "train.global_batch=64", "engine.dtype=bf16"]
    config = config_of(row.config, *batch)
    cost = model_cost(config.model, config.augment.img_size).total
    true = row.model_copy(
        update={
            "num_classes": config.model.num_classes,
            "img_size": config.augment.img_size,
            "parameters": cost.trained,
            "frozen": cost.frozen,
            "macs": cost.macs,
            "activation_bytes": round(activation_bytes(config) / 64),
        }
    )
    assert row == true, f"write this into {FILE.relative_to(ROOT)}: {true}"
    found = known_model(config)
    assert found is not None, "settings: they are not those of this config"
    assert (found.parameters, found.macs) == (row.parameters, row.macs)


def numbers_in(record: Any) -> Iterator[float]:
    values = record.values() if isinstance(record, dict) else record
    for value in values if isinstance(record, dict | list) else ():
        if isinstance(value, int | float):
            yield value
        yield from numbers_in(value)


@pytest.mark.parametrize("row", table().speeds, ids=lambda row: f"{row.config}-{row.dtype}")
def test_the_speeds_are_those_that_were_measured(row: Speed) -> None:
    text = (ROOT / row.source).read_text()
    record: dict[str, Any] = json.loads(text)
    assert str(row.date) == record["date"]
    assert row.images_per_second in set(numbers_in(record["figures"]))
    if row.device == "cuda":
        assert row.hardware in text and gpu_named(row.hardware) is not None
    else:
        assert row.hardware == f"{record['machine']['cpus']} cores of an Intel Xeon"
        assert "Xeon" in record["machine"]["processor"]
        measured = record["figures"][row.dtype]["images_per_second"]["this project"]["median"]
        assert (row.images_per_second, f"{row.img_size} px" in text) == (measured, True)


def test_a_speed_is_of_one_size_dtype_and_device() -> None:
    config = config_of("s12.yaml", "device=cpu", "augment.img_size=64")
    assert [row.images_per_second for row in measured_speeds(config, known_model(config))] == [81.9]
    for change in ("augment.img_size=96", "device=cuda", "model.metaformer.act=relu"):
        other = config_of("s12.yaml", "device=cpu", "augment.img_size=64", change)
        assert measured_speeds(other, known_model(other)) == []


def test_gpus_go_by_torchs_names_and_by_no_guess() -> None:
    by_name = {name: row.gpu for row in table().gpus for name in row.names}
    assert len(by_name) == sum(len(row.names) for row in table().gpus)
    for name, gpu in by_name.items():
        assert (found := gpu_named(name)) is not None and found.gpu == gpu
    assert gpu_named("NVIDIA H200 of another kind") is None


@pytest.mark.parametrize("row", table().gpus, ids=lambda row: row.gpu)
def test_a_data_sheets_figures_hang_together(row: Gpu) -> None:
    # Where an SM makes one fp32 operation, its Tensor Cores make 16 in bf16 and 8 in TF32, at a
    # clock that is lower by an eighth at most; sheets round.
    assert 13.8 < row.flops["bf16"] / row.flops["fp32"] < 16.1
    is_hopper = row.gpu.startswith("H")
    # 16 lanes of 32 or 16 GT/s; 128 of 130 bits are payload.
    lanes = 16 * (32e9 if is_hopper else 16e9) / 8 * 128 / 130
    assert row.pcie_bytes_per_second == pytest.approx(lanes, rel=1e-3)
    nvlink = None if "SXM" not in row.gpu else 450e9 if is_hopper else 300e9
    assert row.nvlink_bytes_per_second == nvlink


def test_networks_by_name_are_speeds() -> None:
    for name in table().links:
        assert parse_link(name, table().links)[0] > 1e9


def test_other_classes_make_another_head() -> None:
    from pipeline.models.cost import model_cost

    config = config_of("s12.yaml", "model.num_classes=10")
    row = known_model(config)
    assert row is not None
    assert trained_parameters(config, row) == model_cost(config.model, 224).total.trained
