"""SIGKILL to a training, its uploader and its server, one alone or together, at random moments."""

import random
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.tracking.journal import read_journal
from pipeline.tracking.upload.sync import sync_runs
from tests.tracking.servers import Proxy
from tests.tracking.truth import check_store
from tests.tracking.waiting import PATIENCE_S, wait_for

ROUNDS = 4
MOST_DELAY_S = 0.5

TRAINING = """
import sys, time
from pathlib import Path
from pipeline.config import Config
from pipeline.tracking import open_tracker
from pipeline.world import World
run, uri, first, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
config = Config.model_validate({"name": "digits", "tracking": {"uri": uri}})
tracker = open_tracker(run, config, World(), {})
tracker.dataset("digits", "train", "ab" * 32, 1437)
for step in range(first, first + steps):
    tracker.log({"train/loss": 1 / (1 + step), "train/lr": 1e-3 * step}, step)
    time.sleep(0.005)
tracker.end("FINISHED")
"""


class Launches:
    """Trainings in one run folder, each from a little before where the last one had come."""

    def __init__(self, folder, uri):
        self._folder, self._uri = folder, uri
        self.processes = []

    def start(self, steps):
        journal = self._folder.journal
        records = read_journal(journal).records if journal.exists() else []
        first = max(0, max((record["step"] for record in records), default=0) - 20)
        command = [sys.executable, "-c", TRAINING, self._folder.path, self._uri, first, steps]
        training = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)
        self.processes.append(training)
        wait_for(lambda: self.started == len(self.processes), "a start")
        return training

    @property
    def started(self):
        if not self._folder.journal.exists():
            return 0
        return sum(r["kind"] == "start" for r in read_journal(self._folder.journal).records)

    @property
    def uploading(self):
        """How often an uploader has reached the store."""
        log = self._folder.tracking_log
        return log.read_text().count("uploading to") if log.exists() else 0

    def uploaders(self):
        """All uploaders of the run that live, also those of dead trainings."""
        return [p for p in psutil.process_iter(["cmdline"]) if self._is_uploader(p)]

    def _is_uploader(self, process):
        words = process.info["cmdline"] or []
        return "follow" in words and str(self._folder.path) in words


@pytest.fixture
def launches(folder, team_server):
    proxy = Proxy(team_server.uri)
    launches = Launches(folder, proxy.uri)
    launches.proxy = proxy
    proxy.up()
    yield launches
    for process in [*launches.processes, *launches.uploaders()]:
        process.kill()
    proxy.down()


def test_kills_at_random_moments(folder, launches, team_server):
    kill_rounds(folder, launches, random.Random(7), ROUNDS)
    check_store(folder, team_server.uri, "FINISHED", "finished")


def kill_rounds(folder, launches, rng, rounds):
    """Kill one of the four kinds of victims in each round, then train to the end and sync."""
    victims = [("training",), ("uploader", "training"), ("uploader",), ("server", "training")]
    for number in range(rounds):
        launches.proxy.down()
        launches.proxy.up()
        before = launches.uploading
        training = launches.start(steps=1_000_000)
        if (number + number // len(victims)) % 2:
            wait_for(lambda before=before: launches.uploading > before, "an upload")
        time.sleep(rng.uniform(0, MOST_DELAY_S))
        for victim in victims[number % len(victims)]:
            match victim:
                case "training":
                    training.kill()
                case "uploader":
                    for process in launches.uploaders():
                        process.kill()
                case "server":
                    launches.proxy.down()
        time.sleep(rng.uniform(0, MOST_DELAY_S))
        training.kill()
        training.wait()
    launches.proxy.down()
    launches.proxy.up()
    training = launches.start(steps=100)
    assert training.wait(PATIENCE_S) == 0

    def synced():
        (result,) = sync_runs([folder.path])
        assert result.outcome in ("busy", "synced"), result
        return result.outcome == "synced"

    wait_for(synced, "the sync")
