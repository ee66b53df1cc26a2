"""Work done ahead in a thread, so that a device is not kept waiting for its host."""

import atexit
import os
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1
_CLOSE_S = 5.0


def ahead(items: Iterator[T], depth: int, name: str, niceness: int = 0) -> Generator[T, None, None]:
    """The same items in the same order, up to ``depth`` of them made ahead in a thread.

    niceness: how far this thread, and those that it starts, give way to others (0 to 19).
    An error of ``items`` is raised where the item is asked for. Closing the generator ends the
    thread at its next item; one that hangs is left behind and does not keep the process alive.
    """
    made: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    is_closed = threading.Event()

    def put(item: tuple[T | None, BaseException | None, bool]) -> None:
        while not is_closed.is_set():
            try:
                return made.put(item, timeout=_POLL_S)
            except queue.Full:
                continue

    def work() -> None:
        try:
            if niceness:
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + niceness)
            for item in items:
                put((item, None, False))
                if is_closed.is_set():
                    return
            put((None, None, True))
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            put((None, error, True))
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=work, name=name, daemon=True)

    def close() -> None:
        # What it works with, DALI's graph among it, is not taken down under it.
        is_closed.set()
        thread.join(_CLOSE_S)

    # A process may end with the generator still open, held by an error's traceback.
    atexit.register(close)
    thread.start()
    try:
        while True:
            item, error, is_last = made.get()
            if error is not None:
                raise error
            if is_last:
                return
            yield item  # type: ignore[misc]
    finally:
        close()
        atexit.unregister(close)
