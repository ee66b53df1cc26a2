"""Clocks: a machine's against the file server's, and the nodes' of a job against each other's."""

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Thread

from slurm.doctor.finding import Verdict, fail, ok, warn
from slurm.doctor.subject import Subject, existing

LARGEST_S = 1.0
"""Logs and curves of several nodes are hard to read from here on."""
ABSURD_S = 300.0
"""munge refuses credentials of another time than this, and Slurm with it."""
_FINEST_S = 0.01
"""File systems stamp by the ticks of a kernel, and less is no matter to anybody."""
_REMEDY = "set the clock, and keep it: `timedatectl set-ntp true`, or chrony"
_TIME = struct.Struct("!d")
_ROUND_TRIPS = 5


def file_server_clock(subject: Subject) -> Verdict | None:
    """This clock against the time that a file in runs_root gets."""
    folder = existing(Path(subject.config.runs_root))
    before_s = time.time()
    try:
        with NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
            server_s = Path(file.name).stat().st_mtime
    except OSError:
        return None  # full, or closed to us: other checks tell
    # The file's time lies between, whoever set it; the middle of a slow answer is the best guess.
    middle_s = (before_s + time.time()) / 2
    return skew_verdict(middle_s - server_s, time.time() - before_s, f"files in {folder}")


def skew_verdict(skew_s: float, within_s: float, against: str) -> Verdict:
    """skew_s: this clock minus the other, right to ±within_s."""
    within_s = max(within_s, _FINEST_S)
    if abs(skew_s) <= within_s:
        return ok(f"agrees with {against} (within {_short(within_s)})")
    side = "ahead of" if skew_s > 0 else "behind"
    told = f"{_short(abs(skew_s))} {side} {against}"
    if abs(skew_s) - within_s > ABSURD_S:
        return fail(told, _REMEDY)
    return warn(told, _REMEDY) if abs(skew_s) - within_s > LARGEST_S else ok(told)


def serve_time(host: str = "", clock: Callable[[], float] = time.time) -> int:
    """Answer with the time on a free port, which is returned, as long as this process lives."""
    listener = socket.create_server((host, 0), backlog=256)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                # One who only connects must not hold the others up.
                connection.settimeout(5)
                try:
                    while connection.recv(1):
                        connection.sendall(_TIME.pack(clock()))
                except OSError:
                    continue

    Thread(target=serve, name="time-server", daemon=True).start()
    return listener.getsockname()[1]


def skew_to(
    host: str, port: int, clock: Callable[[], float] = time.time, timeout_s: float = 10
) -> tuple[float, float]:
    """This clock minus the server's, and half of the quickest round trip, both in seconds.

    Raises OSError where the server cannot be reached.
    """
    best = (0.0, float("inf"))
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        for _ in range(_ROUND_TRIPS):
            sent_s = clock()
            connection.sendall(b"?")
            answer = connection.recv(_TIME.size, socket.MSG_WAITALL)
            half_s = (clock() - sent_s) / 2
            if len(answer) < _TIME.size:
                raise ConnectionError("the server left")
            if half_s < best[1]:
                best = (sent_s + half_s - _TIME.unpack(answer)[0], half_s)
    return best


def _short(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
