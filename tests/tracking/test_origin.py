"""Which code runs: a clean or a changed checkout, a snapshot, or what git does not know."""

import shutil
import subprocess

import pytest

from pipeline.tracking import origin as origin_module
from pipeline.tracking.origin import Origin, diff_text, origin_of, write_origin


def git(folder, *words):
    names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", folder, *names, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """One commit with a package and a note beside it."""
    root = tmp_path / "checkout"
    for name, text in (("pipeline/__init__.py", ""), ("pipeline/a.py", "one\n"), ("NOTE", "x\n")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / ".gitignore").write_text("/runs/\n")
    git(root.parent, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def test_a_clean_checkout_has_no_diff(checkout):
    (checkout / "results.txt").write_text("of no package")
    commit = git(checkout, "rev-parse", "HEAD")
    found = origin_of(checkout)
    assert found == Origin(commit, is_dirty=False)
    assert found.tags() == {"git_commit": commit, "git_dirty": "false"}


def test_the_diff_of_a_dirty_checkout_brings_its_code_back(checkout, tmp_path):
    (checkout / "pipeline/a.py").write_text("one\ntwo\n")
    (checkout / "NOTE").write_bytes(b"caf\xe9\n")  # latin-1
    found = origin_of(checkout)
    assert found.tags()["git_dirty"] == "true"
    (tmp_path / "code.diff").write_text(found.diff)
    git(checkout, "checkout", "--quiet", ".")
    git(checkout, "apply", "--include=pipeline/*", str(tmp_path / "code.diff"))
    assert (checkout / "pipeline/a.py").read_text() == "one\ntwo\n"


def test_staged_changes_count(checkout):
    (checkout / "pipeline/a.py").write_text("staged\n")
    git(checkout, "add", ".")
    assert "+staged" in origin_of(checkout).diff


def test_an_untracked_file_in_a_package_is_named(checkout):
    (checkout / "pipeline/new.py").write_text("secret = 1\n")
    found = origin_of(checkout)
    assert found.is_dirty
    assert "#   pipeline/new.py\n" in found.diff
    assert "secret" not in found.diff


def test_a_persons_own_settings_of_git_do_not_reach_the_diff(checkout, monkeypatch):
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    git(checkout, "config", "color.ui", "always")
    git(checkout, "config", "diff.context", "0")
    (checkout / "pipeline/a.py").write_text("other\n")
    expected = "--- a/pipeline/a.py\n+++ b/pipeline/a.py\n@@ -1 +1 @@\n-one\n+other\n"
    for setting in ("noprefix", "mnemonicPrefix"):
        git(checkout, "config", f"diff.{setting}", "true")
        assert origin_of(checkout).diff.endswith(expected)
    (checkout / "NOTE").write_text("x\ny\n")
    assert "\n@@ -1 +1,2 @@\n x\n+y\n" in origin_of(checkout).diff


def test_a_snapshot_tells_its_own_origin_though_it_lies_in_a_checkout(checkout):
    snapshot = checkout / "runs/digits/code/0123456789ab"
    shutil.copytree(checkout / "pipeline", snapshot / "pipeline")
    assert origin_of(snapshot) == Origin(), "git does not track it"
    taken_from = Origin("c0ffee", True, "a diff", "0123456789ab")
    write_origin(snapshot, taken_from)
    assert origin_of(snapshot) == taken_from
    assert taken_from.tags()["snapshot"] == "0123456789ab"


def test_nothing_is_known_without_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert origin_of(checkout) == Origin()
    assert Origin().tags() == {}


def test_a_long_diff_is_cut_at_a_line_and_says_so(monkeypatch):
    monkeypatch.setattr(origin_module, "MOST_BYTES", 100)
    text = diff_text("c0ffee", "\n".join(f"+line {n} é" for n in range(100)), [])
    *kept, last = text.splitlines()
    assert kept[0] == "# since commit c0ffee"
    assert kept[-1] == "+line 6 é"
    assert last == "# cut here: 1,113 of 1,212 bytes are left out"


def test_secrets_and_long_lists_stay_out():
    text = diff_text("c0ffee", "+uri: http://me:pw@host/x\n", [f"f{n}" for n in range(1000)])
    assert "pw" not in text and "+uri: http://host/x" in text
    assert "#   f199\n#   and 800 more\n" in text


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("+AWS_SECRET_ACCESS_KEY=abcd", "+AWS_SECRET_ACCESS_KEY=***"),
        ("-password: hunter two", "-password: ***"),
        (' "api_key": "123",', ' "api_key": ***'),
        ("+ header = 'Authorization: Basic abc'", "+ header = 'Authorization: ***"),
        ("+ get('Bearer abc')", "+ get('Bearer ***"),
        ("@@ -1 +1 @@ DB_PASSWD = 'abc'", "@@ -1 +1 @@ DB_PASSWD = ***"),
        ("+  token_mixers: pooling", "+  token_mixers: pooling"),
        ("+secret = ", "+secret = "),
    ],
)
def test_values_of_secret_names_are_masked(line, kept):
    assert diff_text("c0ffee", f"{line}\n+next", []) == f"# since commit c0ffee\n{kept}\n+next\n"
