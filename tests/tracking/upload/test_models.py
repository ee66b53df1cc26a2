"""Best checkpoints as logged models: one each, complete, linked, however often it broke off."""

import json
import shutil

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException

from pipeline.tracking import read_run_info, update_run_info
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload.uploader import Uploader


def test_each_best_checkpoint_is_a_model_of_its_run(made, any_uri):
    made.steps(1, 23)
    made.evaluated(22, 40.0)
    made.evaluated(44, 60.0)
    made.end()
    stored = made.synced(any_uri)
    first, second = stored.models
    run = stored.run
    assert (first.name, second.name) == ("digits-step-22", "digits-step-44")
    assert {str(model.status) for model in stored.models} == {"READY"}
    assert {model.source_run_id for model in stored.models} == {run.info.run_id}
    outputs = {(output.model_id, output.step) for output in run.outputs.model_outputs}
    assert outputs == {(first.model_id, 22), (second.model_id, 44)}
    assert second.params == {"seed": "42", "train.epochs": "4", "train.global_batch": "64"}
    folder = made.folder.path.absolute() / "checkpoints" / "step-00000044"
    run_key = read_run_info(made.folder.path)["run_key"]
    assert second.tags == {
        "pipeline.model_key": f"{run_key}/step-44",
        "run_key": run_key,
        "checkpoint": str(folder),
        "checkpoint_kept": "true",
        "is_best": "true",
        "host": "n1",
        "step": "44",
        "epoch": "2",
    }
    (validation,) = [
        i.dataset for i in run.inputs.dataset_inputs if i.dataset.name == "digits-validation"
    ]
    metrics = {m.key: (m.value, m.step, m.dataset_digest) for m in second.metrics}
    assert metrics["val/top1"] == (60.0, 44, validation.digest)
    assert metrics.keys() == {"val/top1", "val/top5", "val/loss"}
    assert {m.dataset_name for m in second.metrics} == {"digits-validation"}
    assert [step for step, *_ in stored.history("val/top1")] == [22, 44]
    path = mlflow.artifacts.download_artifacts(
        artifact_uri=f"{second.artifact_location}/checkpoint.json", tracking_uri=any_uri
    )
    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    assert told["folder"] == str(folder)
    assert told["files"] == {"state-00.safetensors": {"bytes": 3, "sha256": "ef" * 32}}
    assert told["metrics"]["val/top1"] == 60.0


def test_only_the_newest_is_the_best_and_a_deleted_one_says_so(made, store):
    first = made.evaluated(22, 40.0)
    stored = made.synced(store.uri)
    assert [model.tags["is_best"] for model in stored.models] == ["true"]
    made.evaluated(44, 60.0)
    shutil.rmtree(first)
    stored = made.synced(store.uri)
    told = [(m.tags["is_best"], m.tags["checkpoint_kept"]) for m in stored.models]
    assert told == [("false", "false"), ("true", "true")]


@pytest.mark.parametrize(
    "last_request",
    [
        "create_logged_model",
        "log_model_params",
        "log_batch",
        "finalize_logged_model",
        "log_outputs",
        "log_model_artifact",
    ],
)
def test_dying_after_any_request_doubles_nothing(made, any_uri, monkeypatch, last_request):
    made.steps(1, 5)
    made.evaluated(22, 40.0)
    made.end()
    # Before: only the requests for models count, log_batch among them.
    Uploader(made.folder, StoreUri(any_uri))._upload_chunk()

    class Killed(BaseException):
        pass

    def die(*arguments, **named):
        real(*arguments, **named)
        raise Killed

    real = getattr(MlflowClient, last_request)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, last_request, die)
        with pytest.raises(Killed):
            made.sync(any_uri)
    stored = made.synced(any_uri)
    (model,) = stored.models
    assert (str(model.status), len(model.params), len(model.metrics)) == ("READY", 3, 3)
    assert [o.model_id for o in stored.run.outputs.model_outputs] == [model.model_id]
    assert len(stored.history("val/top1")) == 1
    files = stored.client.list_logged_model_artifacts(model.model_id)
    assert [file.path for file in files] == ["checkpoint.json"]


def test_a_replay_without_the_cursor_doubles_nothing(made, any_uri):
    made.evaluated(22, 40.0)
    made.evaluated(44, 60.0)
    made.end()
    before = {m.model_id: len(m.metrics) for m in made.synced(any_uri).models}
    made.folder.cursor.unlink()
    stored = made.synced(any_uri)
    assert {m.model_id: len(m.metrics) for m in stored.models} == before
    assert len(stored.run.outputs.model_outputs) == 2
    assert [step for step, *_ in stored.history("val/top1")] == [22, 44]


def test_more_params_than_one_request_takes(made, any_uri):
    params = {f"group.setting_{i}": str(i) for i in range(250)}
    made.journal.settings(params)
    made.evaluated(22, 40.0)
    (model,) = made.synced(any_uri).models
    assert params.items() <= model.params.items()


def test_a_model_made_by_a_request_whose_answer_came_too_late(made, store):
    made.evaluated(22, 40.0)
    stored = made.synced(store.uri)
    (model,) = stored.models
    late = stored.client.create_logged_model(
        stored.experiment_id, "digits-step-22", stored.run_id, dict(model.tags)
    )
    made.evaluated(44, 60.0)
    models = made.synced(store.uri).models
    assert [m.tags["step"] for m in models] == ["22", "44"]
    assert late.model_id not in {m.model_id for m in models}


def test_a_model_deleted_in_mlflow_stays_deleted(made, store):
    made.evaluated(22, 40.0)
    stored = made.synced(store.uri)
    stored.client.delete_logged_model(stored.models[0].model_id)
    made.evaluated(44, 60.0)
    assert [m.tags["step"] for m in made.synced(store.uri).models] == ["44"]


def test_a_loss_that_is_not_a_number_is_no_zero(made, store):
    made.evaluated(22, 40.0, loss=float("nan"))
    made.end()
    stored = made.synced(store.uri)
    (model,) = stored.models
    assert {metric.key for metric in model.metrics} == {"val/top1", "val/top5"}
    assert [value for *_, value in stored.history("val/loss")] == ["nan"]


def test_a_step_computed_again_keeps_the_first_value(made, store):
    made.evaluated(22, 40.0)
    made.write(
        {
            "kind": "model",
            "t_ms": 1,
            "step": 22,
            "model": {"folder": "checkpoints/step-00000022", "metrics": {"val/top1": 40.1}},
        }
    )
    stored = made.synced(store.uri)
    (model,) = stored.models
    assert [m.value for m in model.metrics if m.key == "val/top1"] == [40.0]
    assert [value for *_, value in stored.history("val/top1")] == ["40.0"]


def test_a_server_too_old_for_models_gets_the_rest(made, store, monkeypatch, capsys):
    def unknown(*_, **__):
        raise RestException({"error_code": "ENDPOINT_NOT_FOUND", "message": "404"})

    monkeypatch.setattr(MlflowClient, "search_logged_models", unknown)
    made.evaluated(22, 40.0)
    uploader = Uploader(made.folder, StoreUri(store.uri))
    uploader.upload()
    made.end()
    uploader.upload()
    monkeypatch.undo()
    stored = made.stored(store.uri)
    assert stored.run.info.status == "FINISHED"
    assert stored.models == []
    assert "note.content" in " ".join(stored.tags)
    assert capsys.readouterr().err.count("do not appear there as models") == 1


@pytest.mark.parametrize("name", ["a/b:c.d%\"e'f", "m48"])
def test_a_name_that_mlflow_would_refuse(made, store, name):
    update_run_info(made.folder.path, name=name)
    made.evaluated(22, 40.0)
    (model,) = made.synced(store.uri).models
    assert model.name == ("m48-step-22" if name == "m48" else "a-b-c-d--e-f-step-22")
