"""The process behind ``Nursery``: one JSON line in per job, one out with its exit codes.

It never runs anything itself, so that there are no threads when it forks.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import socket
import sys
import time
from pathlib import Path
from signal import SIGKILL
from typing import Any, NoReturn

from pipeline.engine.start import _imported

IMPORTED_LATE = (
    "pipeline.train.loop",
    # DeepSpeed's, half a process's start: imported where it looks at the optimizer.
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "deepspeed.runtime.zero.stage_1_and_2",
    "deepspeed.runtime.zero.stage3",
    "nvidia.dali.pipeline",
)
_POLL_S = 0.01


def main() -> None:
    _imported("cpu")
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    gc.freeze()
    while line := sys.stdin.readline():
        job = json.loads(line)
        port = free_port()
        pids: list[int] = []
        for rank in range(job["world"]):
            pid = os.fork()
            if pid == 0:
                be_rank(job, rank, port, pids[0] if pids else 0)
            os.setpgid(pid, pids[0] if pids else pid)
            pids.append(pid)
        print(json.dumps(wait_for(pids, job["timeout_s"], job["grace_s"])), flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def be_rank(job: dict[str, Any], rank: int, port: int, group: int) -> NoReturn:
    os.setpgid(0, group)
    logs = Path(job["logs"])
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(logs / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(job["world"]),
        "LOCAL_WORLD_SIZE": str(job["world"]),
        **job["env"],
    }
    sys.argv = [job["module"], *job["args"]]
    code = 0
    try:
        runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (as the interpreter does it)
        sys.excepthook(*sys.exc_info())
        code = 1
    # To take down all that was imported would be seconds, and nothing to the run.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait_for(pids: list[int], timeout_s: float, grace_s: float) -> list[int]:
    """Exit codes, minus the signal where there was one."""
    codes: dict[int, int] = {}
    deadline = time.monotonic() + timeout_s
    while len(codes) < len(pids):
        for pid in set(pids) - codes.keys():
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
                if codes[pid] != 0:
                    deadline = min(deadline, time.monotonic() + grace_s)
        if time.monotonic() > deadline:
            for pid in set(pids) - codes.keys():
                os.kill(pid, SIGKILL)
        time.sleep(_POLL_S)
    return [codes[pid] for pid in pids]


main()
