"""The rules that hold for the whole tree: lint, types, import direction, and true documents."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
README = ROOT / "README.md"

HEAVY = ("torch", "timm", "nvidia.dali", "deepspeed", "mlflow", "webdataset")

# In parts, so that this file passes its own test.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "nvidia"),
        ("download", "pytorch"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
    )
)
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|work|home/\w+|Users/\w+)/\w")

CHECKS = {
    "ruff check": ["ruff", "check", "--no-cache", "."],
    "ruff format": ["ruff", "format", "--no-cache", "--check", "."],
    "imports": ["lint-imports", "--no-cache"],
    "types": ["pyright"],
}

COMMANDS = {
    "shard": ["data_prep/shard.py"],
    "verify": ["data_prep/verify.py"],
    "digits": ["data_prep/digits.py"],
    "launch": ["slurm/launch.py"],
    "jobs": ["slurm/jobs.py"],
    "pipeline": ["-m", "pipeline"],
    "config": ["-m", "pipeline.config"],
    "models": ["-m", "pipeline.models"],
    "plan": ["-m", "pipeline.plan"],
    "show": ["-m", "pipeline.data.show"],
    "bench": ["-m", "pipeline.data.bench"],
    "parity": ["-m", "pipeline.data.parity"],
    "dtype": ["-m", "pipeline.dtype"],
    "evaluate": ["-m", "pipeline.evaluate"],
    "export": ["-m", "pipeline.export"],
    "predict": ["-m", "pipeline.predict"],
    "compare": ["-m", "pipeline.compare"],
    "tracking": ["-m", "pipeline.tracking"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_tree_passes(check: str) -> None:
    done = run([str(BIN / CHECKS[check][0]), *CHECKS[check][1:]])
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in project_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if any(host in line for host in REGISTRY_HOSTS) or MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("top", ["root", "home/ann", "Users/ann"])
def test_a_path_of_one_machine_is_seen(top: str) -> None:
    assert MACHINE_PATH.search(f"see /{top}/data")
    assert not MACHINE_PATH.search(f"see ./{top}/data")


@pytest.mark.parametrize(
    "name",
    [*COMMANDS, "train"],
)
def test_help_answers_and_imports_nothing_heavy(name: str) -> None:
    done = help_of(COMMANDS.get(name, ["-m", f"pipeline.{name}"]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert done.stderr.split() == []


def test_dry_run_imports_nothing_heavy(tmp_path: Path) -> None:
    dry = ["slurm/launch.py", "configs/m48.yaml", "--cluster", "slurm", "--dry-run"]
    done = light([*dry, f"runs_root={tmp_path}"])
    assert done.returncode == 0, done.stderr
    assert "# sbatch" in done.stdout
    assert done.stderr.rpartition("heavy:")[2].split() == []


def test_a_heavy_import_is_seen() -> None:
    assert light(["-m", "mlflow.version"]).stderr.rpartition("heavy:")[2].split() == ["mlflow"]


def readme_commands() -> list[str]:
    """The commands of the README's console blocks, without prompt and comment."""
    blocks = re.findall(r"^```console\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line[2:] for line in lines if line.startswith("$ ")]


def test_readme_shows_the_commands_that_matter() -> None:
    shown = readme_commands()
    for start in (
        "make demo",
        "make test",
        "python data_prep/shard.py",
        "python slurm/launch.py --nodes 8 configs/m48.yaml",
        "python -m pipeline.compare",
        "python -m pipeline.tracking open",
    ):
        assert any(line.startswith(start) for line in shown), start


@pytest.mark.parametrize("line", dict.fromkeys(readme_commands()))
def test_readme_commands_exist(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if program != "python":
        assert program in ("pip", "cat", "tail", "scancel", "squeue", "export", "."), program
        return
    count = 2 if words[0] == "-m" else 1
    command, arguments = words[:count], words[count:]
    text = help_of(command).stdout
    assert text.startswith("usage: "), text
    if arguments and command == ["-m", "pipeline.tracking"]:
        text = light([*command, arguments[0], "--help"]).stdout
        assert text.startswith(f"usage: python -m pipeline.tracking {arguments[0]} "), text
    if command == ["slurm/jobs.py"]:
        text = light([*command, arguments[0], "--help"]).stdout
        assert text.startswith(f"usage: jobs.py {arguments[0]} "), text
    for word in arguments:
        if word.startswith("--"):
            assert re.search(rf"{word.partition('=')[0]}\b", text), word
        if word.startswith("configs/"):
            assert list(ROOT.glob(word)), word


def test_readme_names_files_that_exist() -> None:
    text = README.read_text()
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / name).exists(), name


def run(words: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        words, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=240
    )


def light(words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run ``python WORDS``; stderr ends in ``heavy:`` and what was imported of HEAVY."""
    program = (
        "import atexit, runpy, sys\n"
        f"atexit.register(lambda: print('heavy:', *[m for m in {HEAVY} if m in sys.modules],"
        " file=sys.stderr))\n"
        "sys.argv = sys.argv[1:]\n"
        "if sys.argv[0] == '-m':\n"
        "    del sys.argv[0]\n"
        "    sys.path[0] = ''\n"
        "    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "else:\n"
        "    import os\n"
        "    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    return run([sys.executable, "-c", program, *words])


def help_of(words: list[str]) -> "subprocess.CompletedProcess[str]":
    done = light([*words, "--help"])
    head, _, heavy = done.stderr.rpartition("heavy:")
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, head + heavy)


def project_files() -> list[Path]:
    """Every file of the project: what git knows, and what it would add."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this tree is no git checkout")
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    assert listed.returncode == 0, listed.stderr
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert ROOT / "pyproject.toml" in paths
    return [path for path in paths if path.is_file()]
