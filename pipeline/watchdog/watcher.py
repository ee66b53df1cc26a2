"""A rank's side of its watching: the page it notes itself on, and the process that reads it."""

import faulthandler
import json
import mmap
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pipeline
from pipeline.watchdog.beat import PAGE_BYTES, Beat
from pipeline.watchdog.watching import Order
from pipeline.world import World

_FOR_THE_RANK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Watcher:
    """The process that watches this one, until ``close`` or this process's end of any kind.

    To be made by the main thread. From then on SIGUSR1 writes all stacks into a file.
    """

    def __init__(self, world: World, timeout_s: float, folder: Path):
        self._nodes_fd, stack_fd, beat_fd = (
            os.memfd_create(name) for name in ("nodes", "stack", "beat")
        )
        os.ftruncate(beat_fd, PAGE_BYTES)
        self.beat = Beat(mmap.mmap(beat_fd, PAGE_BYTES))
        faulthandler.register(signal.SIGUSR1, file=stack_fd, all_threads=True, chain=False)
        order = Order(
            rank=world.rank,
            world_size=world.size,
            node=world.node_name,
            pid=os.getpid(),
            timeout_s=timeout_s,
            folder=str(folder.absolute()),
            beat_fd=beat_fd,
            stack_fd=stack_fd,
            nodes_fd=self._nodes_fd,
        )
        self._process = _started(order)
        os.close(beat_fd)

    def tell_nodes(self, nodes: list[str]) -> None:
        """Of all ranks, in their order: one that is lost cannot say where it was."""
        os.pwrite(self._nodes_fd, json.dumps(nodes).encode(), 0)

    def close(self) -> None:
        """End the watching."""
        self._process.kill()
        self._process.wait()


def _started(order: Order) -> "subprocess.Popen[bytes]":
    code = str(Path(pipeline.__file__).absolute().parent.parent)
    # -S and -P: it needs the standard library and this code, not what else is installed.
    command = [sys.executable, "-S", "-P", "-m", "pipeline.watchdog", json.dumps(asdict(order))]
    # Signals to a whole job are for the ranks; a mask is inherited, and holds from the start.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_RANK)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": code},
            pass_fds=(order.beat_fd, order.stack_fd, order.nodes_fd),
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
