"""Stores and journals that are not what they should be: one clear message each, nothing lost."""

import http.server
import shutil
import sqlite3
import threading

import pytest

from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload.mlflow_store import MlflowStore, StoreRefused
from pipeline.tracking.upload.uploader import FolderUnwritable, Uploader, uploading


@pytest.fixture
def stranger():
    """A server that answers each request with the text that is put into ``says``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, text = says[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format, *args):
            pass

    says, asked = [(200, "")], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    server.says, server.asked = says, asked
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("version", ["2.22.0", "4.0.0rc1", "1.30.1.dev0"])
def test_a_server_of_another_major_version_is_refused(stranger, version):
    import mlflow

    stranger.says[0] = (200, version)
    uri = f"http://me:t0psecret@127.0.0.1:{stranger.server_port}/prefix"
    with pytest.raises(StoreRefused) as refusal:
        MlflowStore(StoreUri(uri))
    text = str(refusal.value)
    assert f"the server is MLflow {version}, this client is {mlflow.__version__}" in text
    assert "upgrade the older one" in text
    assert "t0psecret" not in text
    assert stranger.asked == ["/prefix/version"]


@pytest.mark.parametrize(
    "answer", [(200, "3.0.0"), (404, "2.22.0"), (200, "<html>sign in, 2.22.0</html>"), (403, "no")]
)
def test_what_tells_no_other_version_is_asked_further(stranger, answer):
    stranger.says[0] = answer
    with pytest.raises(Exception, match="MLflow at") as failure:
        MlflowStore(StoreUri(f"http://127.0.0.1:{stranger.server_port}"))
    assert "this client is" not in str(failure.value)


@pytest.mark.parametrize(
    "change",
    ["update alembic_version set version_num = 'f00'", "drop table logged_model_metrics"],
)
def test_tables_of_another_version(made, empty_store, tmp_path, change):
    path = tmp_path / "other.db"
    shutil.copy(empty_store, path)
    database = sqlite3.connect(path)
    database.execute("update alembic_version set version_num = 'f00'")
    database.execute(change)
    database.commit()
    database.close()
    result = made.sync(f"sqlite:///{path}")
    assert result.outcome == "failed"
    assert f"`mlflow db upgrade sqlite:///{path}`" in result.problem


def test_a_restored_backup_gets_everything_again(made, store, tmp_path, capsys):
    database = store.uri.removeprefix("sqlite:///")
    made.steps(1, 500)
    made.evaluated(500, 40.0)
    made.synced(store.uri)
    shutil.copy(database, tmp_path / "backup")
    made.steps(501, 900)
    made.evaluated(900, 60.0)
    made.end()
    before = made.synced(store.uri)
    wanted = {key: before.history(key) for key in ("train/loss", "val/top1", "progress/epoch")}
    assert capsys.readouterr().err == ""
    shutil.copy(tmp_path / "backup", database)
    after = made.synced(store.uri)
    assert capsys.readouterr().err.count("after restoring a backup") == 1
    assert {key: after.history(key) for key in wanted} == wanted
    assert (after.run.info.status, len(after.models)) == ("FINISHED", 2)
    assert made.sync(store.uri).points == 0
    assert capsys.readouterr().err == ""


def test_another_database_at_the_same_address_gets_everything(made, store, empty_store):
    made.steps(1, 50)
    made.evaluated(50, 40.0)
    made.end()
    wanted = made.synced(store.uri).history("train/loss")
    shutil.copy(empty_store, store.uri.removeprefix("sqlite:///"))
    stored = made.synced(store.uri)
    assert stored.history("train/loss") == wanted
    assert (len(stored.models), stored.run.info.status) == (1, "FINISHED")
    assert "curves/loss.svg" in stored.artifacts()


def test_a_run_made_twice_by_an_answer_that_came_too_late(made, store):
    made.steps(1, 50)
    stored = made.synced(store.uri)
    key = {"pipeline.run_key": stored.tags["pipeline.run_key"]}
    twin = stored.client.create_run(stored.experiment_id, tags=key).info.run_id
    made.end()
    again = made.synced(store.uri)
    assert again.run_id == stored.run_id
    assert again.run.info.status == "FINISHED"
    assert stored.client.get_run(twin).info.lifecycle_stage == "deleted"


def test_damaged_lines_are_skipped_and_named_once(made, store, capsys):
    made.steps(1, 3)
    made.write(b'{"kind":"metrics","t_ms":1,"st\x00\xff\n')
    made.write({"kind": "metrics", "t_ms": 1, "metrics": {"train/loss": 1.0}})  # no step
    made.write({"kind": "metrics", "t_ms": 1, "step": 1, "metrics": {"train/loss": "x"}})
    made.write({"kind": "tags", "t_ms": 1, "step": 1})
    made.steps(3, 5)
    made.end()
    stored = made.synced(store.uri)
    assert [step for step, *_ in stored.history("train/loss")] == [1, 2, 3, 4]
    assert stored.run.info.status == "FINISHED"
    assert capsys.readouterr().err.count("skipped 4 damaged lines") == 1
    made.synced(store.uri)
    assert capsys.readouterr().err == ""


def test_a_torn_last_line_is_said_of_a_run_that_is_over(made, store, capsys):
    made.steps(1, 3)
    torn = b'{"kind":"metrics","t_ms":1,"step":9,"metr'
    made.write(torn)
    made.synced(store.uri)
    assert capsys.readouterr().err == ""  # it may be going on at this moment
    made.folder.journal.write_bytes(made.folder.journal.read_bytes().removesuffix(torn))
    made.end()
    made.write(torn)
    stored = made.synced(store.uri)
    assert capsys.readouterr().err.count("torn by a kill or a full disk") == 1
    assert [step for step, *_ in stored.history("train/loss")] == [1, 2]


def test_records_of_unknown_kinds_are_skipped_and_named_once(made, store, capsys):
    for _ in range(3):
        made.write({"kind": "hologram", "t_ms": 1, "step": 1})
    made.steps(1, 3)
    made.end()
    assert len(made.synced(store.uri).history("train/loss")) == 2
    assert capsys.readouterr().err.count("(hologram)") == 1


def test_a_damaged_cursor_is_made_anew(made, store, capsys):
    made.steps(1, 50)
    made.end()
    wanted = made.synced(store.uri).history("train/loss")
    made.folder.cursor.write_text('{"offset": 12')
    assert made.synced(store.uri).history("train/loss") == wanted
    assert capsys.readouterr().err.count("damaged JSON") == 1


def test_a_cursor_that_cannot_be_written_is_no_end_of_the_upload(made, store):
    made.steps(1, 50)
    made.end()
    uploader = Uploader(made.folder, StoreUri(store.uri))
    made.folder.cursor.mkdir()  # stands for a full disk: no file can take its place
    for _ in range(2):
        with pytest.raises(FolderUnwritable, match="can be written"):
            uploader.upload()
    made.folder.cursor.rmdir()
    uploader.upload()
    assert len(made.stored(store.uri).history("train/loss")) == 49
    assert made.sync(store.uri).points == 0


def test_a_lock_that_cannot_be_made(made):
    made.folder.lock.mkdir()
    with pytest.raises(FolderUnwritable, match="lock"), uploading(made.folder.lock, wait_s=0):
        pass
