"""MLflow's own pages on two runs of digits, as ``tracking open`` shows them, in Chromium."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import Browser
from tests.conftest import ROOT, Command

RUNS = ("digits-pooling", "digits-identity")
SECTIONS = ("train", "val", "perf", "progress")
WAIT_S = 60
# MLflow asks who is logged in, and a server without accounts answers 404; its charts' library and
# table grid talk of themselves.
NOT_OURS = re.compile(
    r"users/current|AG Grid|WebGL|GL Driver Message|ResizeObserver|deprecated", re.IGNORECASE
)


class Ui:
    """The UI at ``address``; ``ids`` are MLflow's, of the runs in the order of RUNS."""

    def __init__(self, browser: Browser, address: str, experiment: str, ids: list[str]):
        self.browser, self.address, self.experiment, self.ids = browser, address, experiment, ids

    def show(self, page: str, *texts: str) -> str:
        """Open a page and wait until it says all of ``texts``; returns all that it says."""
        self.browser.open(f"{self.address}/#/{page}", width=1600, height=1400)
        return self.wait(*texts)

    def wait_for(self, selector: str, count: int) -> None:
        """Wait until so many elements are there."""
        WebDriverWait(self.browser.driver, WAIT_S).until(
            lambda _: len(self.browser.find_all(selector)) >= count
        )

    def wait(self, *texts: str) -> str:
        def said(_: object) -> str | None:
            text = self.browser.find("body").text
            return text if all(wanted in text for wanted in texts) else None

        waiting = WebDriverWait(
            self.browser.driver, WAIT_S, ignored_exceptions=[StaleElementReferenceException]
        )
        try:
            return str(waiting.until(said))
        except TimeoutException:
            text = self.browser.find("body").text
        pytest.fail(f"{[wanted for wanted in texts if wanted not in text]} not in {text}")


@pytest.fixture(scope="module")
def demo_runs(
    trained_run: Path,
    digit_shards: Path,
    tmp_path_factory: pytest.TempPathFactory,
    command: Command,
) -> Path:
    """Two runs of the demo in a store: pooling, and identity token mixers."""
    root = tmp_path_factory.mktemp("demo")
    runs = root / "runs"
    shutil.copytree(trained_run, runs / RUNS[0], symlinks=True)
    info = runs / RUNS[0] / "run.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"name": RUNS[0]}))
    settings = (
        f"name={RUNS[1]} data.root={digit_shards} runs_root={runs} tracking.uri=journal "
        "tracking.system_every_s=0.5 train.max_steps=72 train.epochs=4 train.global_batch=60 "
        "train.micro_batch=60 "
        "model.metaformer.depths=[1,1] model.metaformer.dims=[24,48] "
        "model.metaformer.token_mixers=identity model.metaformer.layer_scale_init=1.0 "
        "optim.lr_base=1e-2 optim.warmup_epochs=1 augment.img_size=32 engine.dtype=fp32 "
        "evaluate.batch_size=100 evaluate.every_epochs=2"
    )
    done = command("-m", "pipeline.train", ROOT / "configs/digits.yaml", *settings.split())
    assert done.returncode == 0, done.stderr
    return runs


@pytest.fixture(scope="module")
def ui(browser: Browser, demo_runs: Path) -> Iterator[Ui]:
    """``python -m pipeline.tracking open`` on those runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--runs-root", str(demo_runs), "--uri", "sqlite:///mlflow.db", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "pipeline.tracking", "open", *options],
        cwd=demo_runs.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said: list[str] = []
        for line in server.stdout:
            said.append(line)
            if f"http://127.0.0.1:{port}" in line:
                break
        else:
            pytest.fail("".join(said))
        infos = [json.loads((demo_runs / run / "run.json").read_text()) for run in RUNS]
        (experiment,) = {info["mlflow_experiment_id"] for info in infos}
        ids = [info["mlflow_run_id"] for info in infos]
        yield Ui(browser, f"http://127.0.0.1:{port}", experiment, ids)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
    assert server.returncode == 0


@pytest.fixture
def shown(ui: Ui) -> Iterator[Ui]:
    """The UI; afterwards its console had no error of ours, and it asked nobody else."""
    yield ui
    assert [line for line in ui.browser.errors() if not NOT_OURS.search(line)] == []


def test_the_list_has_both_runs_with_data_and_models(shown: Ui) -> None:
    page = f"experiments/{shown.experiment}/runs?workflowType=machine_learning"
    shown.show(page, *RUNS, "2 matching runs", "digits-train")
    shown.browser.picture("mlflow-list", whole=False)


def test_charts_are_grouped(shown: Ui) -> None:
    page = f"experiments/{shown.experiment}/runs?compareRunsMode=CHART"
    text = shown.show(page, *SECTIONS, "system/", "2 matching runs")
    lines = text.splitlines()
    at = [lines.index(section) for section in sorted(SECTIONS)]
    assert at == sorted(at)
    assert any(line.startswith("system/") for line in lines)
    # Drawn, of both runs: a line each.
    shown.wait_for(".js-plotly-plot .lines path.js-line", 2)
    shown.browser.picture("mlflow-charts", whole=False)


def test_two_runs_side_by_side(shown: Ui) -> None:
    runs, experiments = json.dumps(shown.ids), json.dumps([shown.experiment])
    wanted = ("Comparing 2 Runs", "model.metaformer.token_mixers", "identity", "perf/img_per_s")
    shown.show(f"compare-runs?runs={runs}&experiments={experiments}", *RUNS, *wanted)
    shown.browser.picture("mlflow-compare", whole=False)


def test_a_run_says_what_it_is(shown: Ui) -> None:
    page = f"experiments/{shown.experiment}/runs/{shown.ids[0]}"
    wanted = ("Finished", "val/top1", "best top-1", "world_sizes")
    shown.show(page, *wanted, "digits-train", "digits-pooling-step-72")
    shown.browser.picture("mlflow-run")


def test_its_artifacts_are_seen(shown: Ui) -> None:
    page = f"experiments/{shown.experiment}/runs/{shown.ids[0]}/artifacts"
    shown.show(page, "batch.png", "config.resolved.yaml", "confusions.csv", "curves")
    shown.browser.picture("mlflow-artifacts", whole=False)


def test_the_best_checkpoint_is_a_model(shown: Ui) -> None:
    models = MlflowClient(shown.address).search_logged_models(
        [shown.experiment], f"source_run_id = '{shown.ids[0]}'"
    )
    (best,) = [model for model in models if model.tags.get("is_best") == "true"]
    page = f"experiments/{shown.experiment}/models/{best.model_id}"
    shown.show(page, "Ready", RUNS[0], "val/top1", "digits-validation", shown.ids[0])
    shown.browser.picture("mlflow-model")
