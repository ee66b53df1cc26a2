"""Config files and overrides: precedence, numbers, and one report with every problem."""

from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.config.flatten import dotted, free_settings
from pipeline.config.load import read_resolved, training_differences, write_resolved
from pipeline.config.schema import Config, Section
from pipeline.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load_and_say_what_they_are(path: Path) -> None:
    load(path)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Hardware:", "Expected:"):
        assert any(word in line for line in head), f"{path} lacks {word}"
    assert any("hours" in line and "top-1" in line for line in head)


def test_precedence_and_origins(tmp_path: Path) -> None:
    write(tmp_path, "seed: 1\ntrain:\n  epochs: 7\n  global_batch: 128\n", "parent.yaml")
    path = write(tmp_path, "extends: parent.yaml\nseed: 2\ntrain: {epochs: 8}\n")
    loaded = load(path, ["seed=3"])
    assert (loaded.config.seed, loaded.config.train.epochs) == (3, 8)
    assert (loaded.config.train.global_batch, loaded.config.name) == (128, "mine")
    assert loaded.places["seed"] == "command line"
    assert loaded.places["train.epochs"] == f"{path}:3"
    assert loaded.places["train.global_batch"] == f"{tmp_path}/parent.yaml:4"
    assert loaded.places["optim.opt"] == "default"


@pytest.mark.parametrize("text", ["3e-4", "3E-4", "3.0e-4", "0.0003", "+3e-4"])
def test_numbers_as_people_write_them(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"optim:\n  lr_base: {text}\n")
    assert load(path).config.optim.lr_base == 3e-4
    assert load(path, [f"optim.lr_base={text}"]).config.optim.lr_base == 3e-4


def test_all_problems_come_in_one_report(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "seed: true\n"
        "seed: 3\n"
        "train:\n  epochs: 10.5\n  globl_batch: 32\n"
        "optim:\n  weight_deacy: 1\n"
        "model:\n  metaformer: {token_mixers: poling}\n",
    )
    with pytest.raises(UserError) as caught:
        load(path, ["engine.dtype=fp16", "foo"])
    report = str(caught.value)
    for part in (
        f"{path}:2: seed is written twice (first in line 1)",
        f"{path}:1: seed=true",
        f"{path}:4: train.epochs=10.5",
        f"{path}:5: train.globl_batch: unknown setting; did you mean train.global_batch?",
        f"{path}:7: optim.weight_deacy: unknown setting; did you mean optim.weight_decay?",
        f"{path}:9: model.metaformer.token_mixers='poling'",
        "command line: engine.dtype='fp16'",
        "command line: 'foo' is no section.key=value",
    ):
        assert part in report, report


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train: {global_batch: 100, micro_batch: 64}", "use 64 or 128"),
        ("model: {name: resnet50}", ""),
        ("model: {metaformer: {depths: [1, 1]}}", "depths has 2 stages, dims has 4"),
        ("model: {metaformer: {pool_size: 4}}", "pool_size=4 must be odd"),
        ("device: cpu\ndata: {decode: gpu}", "data.decode=gpu needs device=cuda"),
        ("augment: {scale: [1.0, 0.5]}", "scale: the first value must not exceed"),
        ("train: {epochs: 3}", "optim.warmup_epochs=5 must be less than train.epochs=3"),
        ("extends: nothing.yaml", "no such file"),
        ("extends: mine.yaml", "leads back to this file"),
        ("a: [1", "not valid YAML"),
        ("- 1", "a config is a mapping"),
        ("name: a/b", "name='a/b'"),
    ],
)
def test_rules_between_settings(text: str, part: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    if not part:
        load(path)
        return
    with pytest.raises(UserError) as caught:
        load(path)
    assert part in str(caught.value)


def test_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load(tmp_path / "no.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_resolved_config_reads_back(path: Path, tmp_path: Path) -> None:
    config = load(path, ["optim.clip_grad=1.5"]).config
    resolved = write(tmp_path, write_resolved(config), "config.resolved.yaml")
    assert read_resolved(resolved) == config


def test_free_settings_make_no_difference(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\n")
    one = load(path).config
    free = load(path, ["name=x", "engine.zero_stage=3", "checkpoint.keep_last=9"]).config
    other = load(path, ["optim.lr_base=1e-4"]).config
    assert training_differences(free, one) == []
    assert training_differences(other, one) == ["optim.lr_base: 0.001 -> 0.0001"]


def test_free_settings_are_settings() -> None:
    assert free_settings() < set(dotted(Config()))


def sections(section: type[Section]) -> list[type[Section]]:
    inner = [info.annotation for info in section.model_fields.values()]
    nested = [s for s in inner if isinstance(s, type) and issubclass(s, Section)]
    return [section, *[deeper for s in nested for deeper in sections(s)]]


@pytest.mark.parametrize("section", sections(Config), ids=lambda section: section.__name__)
def test_every_setting_is_documented(section: type[Section]) -> None:
    nested = {name for name, f in section.model_fields.items() if f.annotation in sections(Config)}
    undocumented = [
        name for name, f in section.model_fields.items() if not f.description and name not in nested
    ]
    assert not undocumented


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (["engine.compile=true", "engine.compile_mode=max-autotune"], "compile_mode=default"),
        (["engine.compile=true", "model.kernels=triton"], "model.kernels=auto"),
        (["engine.compile=true", "engine.compile_mode=reduce-overhead"], "max-autotune"),
    ],
)
def test_ways_to_compute_that_exclude_each_other(settings: list[str], remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        load(ROOT / "configs/m48.yaml", settings)
    load(ROOT / "configs/m48.yaml", [settings[0], "engine.deterministic=false"])
    load(ROOT / "configs/m48.yaml", [settings[1].replace("reduce-overhead", "default")])
