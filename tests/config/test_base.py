"""A config on another base than its own: what is taken from which file, and the name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import dotted, load
from pipeline.config.yaml_tree import read_tree
from pipeline.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
ABLATIONS = sorted((ROOT / "configs/ablations").glob("*.yaml"))
MINIATURE = ROOT / "configs/miniature.yaml"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_on_the_miniature_is_it_with_what_the_ablation_says(path: Path) -> None:
    on_base = load(path, base=MINIATURE)
    own = {key: leaf.value for key, leaf in read_tree(path, []).items() if key != "extends"}
    assert on_base.config.name == f"miniature-{path.stem}"
    expected = dotted(load(MINIATURE).config) | {"name": on_base.config.name}
    for key, value in own.items():
        expected[key] = tuple(value) if isinstance(value, list) else value
        assert on_base.places[key].startswith(f"{path}:")
    assert dotted(on_base.config) == expected


def test_nothing_comes_from_the_parent_that_the_base_replaces(tmp_path: Path) -> None:
    write(tmp_path, "parent.yaml", "optim: {weight_decay: 0.3}\n")
    path = write(tmp_path, "own.yaml", "extends: parent.yaml\ntrain: {epochs: 9}\n")
    write(tmp_path, "grand.yaml", "seed: 5\n")
    base = write(tmp_path, "base.yaml", "extends: grand.yaml\ntrain: {epochs: 7}\n")
    assert load(path).config.optim.weight_decay == 0.3
    loaded = load(path, ["optim.lr_base=1"], base)
    assert loaded.config.optim.weight_decay == 0.05 and loaded.config.optim.lr_base == 1
    assert (loaded.config.seed, loaded.config.train.epochs) == (5, 9)
    assert loaded.places["seed"] == f"{tmp_path}/grand.yaml:1"
    assert loaded.places["name"] == "--base"
    # It need not even be there.
    (tmp_path / "parent.yaml").unlink()
    assert load(path, base=base).config.name == "base-own"


def test_names_that_the_files_give_take_the_place_of_their_own(tmp_path: Path) -> None:
    base = write(tmp_path, "base.yaml", "name: small\n")
    path = write(tmp_path, "own.yaml", "name: other\n")
    assert load(path, base=base).config.name == "small-other"
    assert load(path, ["name=mine"], base).config.name == "mine"


def test_errors_name_both_files_and_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "own.yaml", "extends: gone.yaml\ntrain: {epochs: 3}\n")
    base = write(tmp_path, "base.yaml", "optim:\n  warmup_epochs: 5\n  lr_bas: 1\n")
    with pytest.raises(UserError) as raised:
        load(path, base=base)
    report = str(raised.value)
    assert report.startswith(f"{path} on {base}: ")
    assert f"{base}:3: optim.lr_bas: unknown setting; did you mean optim.lr_base?" in report
    with pytest.raises(UserError, match=r"--base \S+/none.yaml: no such file; name a config"):
        load(path, base=tmp_path / "none.yaml")


def test_the_config_command_shows_it() -> None:
    words = ["configs/ablations/identity.yaml", "--base", "configs/miniature.yaml", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.config", *words],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = json.loads(done.stdout)
    assert shown["name"] == {"value": "miniature-identity", "from": "--base"}
    place = "configs/ablations/identity.yaml:9"
    assert shown["model.metaformer.token_mixers"] == {"value": "identity", "from": place}
