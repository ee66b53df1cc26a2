"""Finding runs by name, and run.json under two writers."""

import errno
import json
import os
import threading

import pytest

from pipeline.errors import DataError, UserError
from pipeline.tracking.run_folder import list_runs, read_run_info, resolve_run, update_run_info


def make_run(path):
    path.mkdir(parents=True)
    (path / "journal.jsonl").touch()
    return path


def test_a_run_is_found_by_name_and_by_path(tmp_path):
    run = make_run(tmp_path / "runs" / "digits")
    assert resolve_run("digits", tmp_path / "runs") == run
    assert resolve_run(str(run), tmp_path / "elsewhere") == run
    (tmp_path / "runs" / "no-run").mkdir()
    assert list_runs(tmp_path / "runs") == [run]


def test_an_unknown_run_lists_near_names(tmp_path):
    for name in ("digits-pool", "digits-identity", "m48"):
        make_run(tmp_path / name)
    with pytest.raises(UserError, match=r"'digits-pol'.*did you mean digits-pool") as caught:
        resolve_run("digits-pol", tmp_path)
    assert "m48" not in str(caught.value)
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="runs there: digits-identity, digits-pool, m48"):
        resolve_run("zzz", tmp_path)
    with pytest.raises(UserError, match="no runs yet"):
        resolve_run("zzz", tmp_path / "nowhere")


def test_two_writers_of_run_json_lose_nothing(tmp_path):
    together = threading.Barrier(2)

    def add(name):
        for index in range(15):
            together.wait()
            update_run_info(tmp_path, **{f"{name}{index}": index})

    writers = [threading.Thread(target=add, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    expected = {f"{name}{index}": index for name in "ab" for index in range(15)}
    assert read_run_info(tmp_path) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == [".run.json.lock", "run.json"]


@pytest.mark.parametrize(("number", "locked"), [(errno.ENOSYS, True), (errno.EBADF, False)])
def test_a_file_system_without_locks_keeps_nobody_from_writing(
    tmp_path, monkeypatch, number, locked
):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pipeline.tracking.locks.fcntl.flock", refuse)
    if not locked:
        with pytest.raises(OSError, match="Bad file descriptor"):
            update_run_info(tmp_path, a=1)
        return
    update_run_info(tmp_path, a=1)
    assert read_run_info(tmp_path) == {"a": 1}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    update_run_info(tmp_path, run_key="k")
    with pytest.raises(TypeError):
        update_run_info(tmp_path, bad=object())
    assert json.loads((tmp_path / "run.json").read_text()) == {"run_key": "k"}
    assert sorted(p.name for p in tmp_path.iterdir()) == [".run.json.lock", "run.json"]


def test_a_damaged_run_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json: damaged JSON"):
        read_run_info(tmp_path)
