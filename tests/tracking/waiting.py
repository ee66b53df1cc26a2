"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable

PATIENCE_S = 90.0
"""A busy machine may take long for what takes a second on an idle one."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Until ``condition()``; fails after PATIENCE_S seconds, naming ``what``."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.02)
