"""Site profiles: where they are looked for, and what is said of a wrong one."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.errors import UserError
from slurm.submit.site_profile import SITES, Container, Site, load_site


@pytest.fixture
def home(tmp_path: Path) -> Mapping[str, str]:
    """A user without a profile."""
    return {"HOME": str(tmp_path)}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_is_assumed_without_a_profile(home: Mapping[str, str]) -> None:
    assert load_site(None, home) == (Site(), None)


def test_the_users_own_profile_is_always_taken(home: Mapping[str, str], tmp_path: Path) -> None:
    own = write(tmp_path / ".config/imagenet-pipeline/site.yaml", "partition: gpu\n")
    assert load_site(None, home) == (Site(partition="gpu"), own)
    elsewhere = write(tmp_path / "xdg/imagenet-pipeline/site.yaml", "partition: other\n")
    with_xdg = {**home, "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert load_site(None, with_xdg) == (Site(partition="other"), elsewhere)


def test_a_name_is_looked_for_in_both_folders(home: Mapping[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".config/imagenet-pipeline/site.yaml", "partition: always\n")
    mine = write(tmp_path / ".config/imagenet-pipeline/sites/mine.yaml", "partition: mine\n")
    assert load_site("mine", home) == (Site(partition="mine"), mine)
    assert load_site("example", home)[1] == SITES / "example.yaml"
    path = write(tmp_path / "there.yaml", "partition: there\n")
    assert load_site(str(path), home)[0].partition == "there"
    with pytest.raises(UserError, match=r"did you mean mine\? there are example, .*, mine"):
        load_site("mien", home)
    with pytest.raises(UserError, match="no such file"):
        load_site(str(tmp_path / "nowhere.yaml"), home)


def test_what_a_profile_leaves_open_comes_from_sbatchs_variables(
    home: Mapping[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.yaml", "partition: gpu\n")
    told = {**home, "SBATCH_ACCOUNT": "vision", "SBATCH_PARTITION": "old"}
    assert load_site(str(path), told)[0] == Site(partition="gpu", account="vision")
    said = f"SBATCH_PARTITION=old is not used: {path}:1 has gpu; --partition old wins over it"
    assert said in capsys.readouterr().err
    flags = {"partition": "old", "account": "mine"}
    assert load_site(str(path), told, flags)[0] == Site(partition="old", account="mine")
    assert capsys.readouterr().err == ""
    assert load_site(None, told)[0] == Site(partition="old", account="vision")


def test_all_problems_in_one_report_with_their_lines(
    home: Mapping[str, str], tmp_path: Path
) -> None:
    path = write(
        tmp_path / "bad.yaml",
        "partion: gpu\n"
        "qos: 3\n"
        "time: soon\n"
        "gres: eight\n"
        "container:\n"
        "  image: a.sif\n"
        "  mount: [/data]\n",
    )
    with pytest.raises(UserError) as caught:
        load_site(str(path), home)
    text = str(caught.value)
    for part in (
        "6 problems",
        f"{path}:1: partion: unknown setting; did you mean partition?",
        f"{path}:2: qos=3: input should be a valid string",
        f"{path}:3: time: 'soon' is no time as sbatch reads it",
        f"{path}:4: gres='eight': string should match",
        "container.kind: is needed",
        f"{path}:7: container.mount: unknown setting; did you mean container.mounts?",
    ):
        assert part in text, text


def test_gpus_are_asked_for_in_one_way(home: Mapping[str, str], tmp_path: Path) -> None:
    path = write(tmp_path / "two.yaml", "gres: gpu:a100:4\ngpus_per_node: 4\n")
    with pytest.raises(UserError, match="both ask for GPUs; keep one"):
        load_site(str(path), home)
    assert Site(gres="gpu:a100:4").gpus == 4 and Site(gpus_per_node=8).gpus == 8
    assert Site().gpus is None


@pytest.mark.parametrize("path", sorted(SITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_load(path: Path, home: Mapping[str, str]) -> None:
    site, _ = load_site(path.stem, home)
    assert site.partition == "gpu" and site.gpus == 8


def test_the_examples_show_every_setting() -> None:
    text = "".join(path.read_text() for path in SITES.glob("*.yaml"))
    assert [name for name in Site.model_fields if f"{name}:" not in text] == []
    assert [name for name in Container.model_fields if f"{name}:" not in text] == []
