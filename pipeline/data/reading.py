"""Reads images ahead of the training, in threads whose troubles become errors that name a shard."""

import resource
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from functools import lru_cache
from queue import SimpleQueue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards import ShardSplit, Tar

Images = list[NDArray[np.uint8]]
"""(B,) files, each (bytes,) uint8."""


class Reader:
    """Reads a split's images batch by batch; each thread has a batch in work, the next ones.

    So memory holds ``threads`` + 1 batches beside the one that was handed out, and at most a
    quarter of the file descriptors that this process may have.
    """

    def __init__(self, split: ShardSplit, threads: int, timeout_s: float):
        self._split = split
        self._threads = threads
        self._timeout_s = timeout_s
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A tar that falls out while a thread reads it stays open as long.
        self._tar = lru_cache(maxsize=max(1, files // 4))(Tar)

    def batches(self, ids: Iterator[NDArray[np.int64]]) -> Generator[Images, None, None]:
        """The images of each (B,) sample ids, in that order.

        Raises DataError that names the shard which fails, or from which nothing comes for
        ``timeout_s``; what ``ids`` raises passes through. Closing never waits for a file system.
        """
        todo: SimpleQueue[_Batch | None] = SimpleQueue()
        ahead: deque[_Batch] = deque()
        # Daemons: the process can end while one hangs in a read.
        for number in range(self._threads):
            Thread(target=self._work, args=(todo,), name=f"reader-{number}", daemon=True).start()
        try:
            for wanted in ids:
                ahead.append(_Batch(wanted))
                todo.put(ahead[-1])
                if len(ahead) > self._threads:
                    yield self._result(ahead.popleft())
            while ahead:
                yield self._result(ahead.popleft())
        finally:
            for batch in ahead:
                batch.images.cancel()
            for _ in range(self._threads):
                todo.put(None)

    def _work(self, todo: "SimpleQueue[_Batch | None]") -> None:
        while (batch := todo.get()) is not None:
            if not batch.images.set_running_or_notify_cancel():
                continue
            try:
                batch.images.set_result(self._read(batch))
            except Exception as error:  # noqa: BLE001 - whoever asked for the images gets it
                batch.images.set_exception(error)

    def _read(self, batch: "_Batch") -> Images:
        rows = self._split.rows(batch.ids)
        ends: list[int] = np.cumsum(rows["bytes"], dtype=np.int64).tolist()
        # One allocation instead of B; the images are views of it.
        files = np.empty(ends[-1] if ends else 0, np.uint8)
        images: Images = []
        begin = 0
        places = zip(rows["shard"].tolist(), rows["offset"].tolist(), ends, strict=True)
        for shard, offset, end in places:
            batch.path, remedy = self._split.tar_place(shard)
            images.append(files[begin:end])
            self._tar(batch.path, remedy).read_into(images[-1], offset)
            begin = end
        return images

    def _result(self, batch: "_Batch") -> Images:
        try:
            return batch.images.result(self._timeout_s)
        except TimeoutError:
            raise DataError(
                f"nothing comes from {batch.path} for data.read_timeout_s={self._timeout_s:g}: "
                "its file system hangs; see whether it answers on this node (ls, dmesg), then "
                "start again, which goes on from the last checkpoint"
            ) from None


class _Batch:
    """Sample ids, and the images when they are there."""

    def __init__(self, ids: NDArray[np.int64]):
        self.ids = ids
        self.images: Future[Images] = Future()
        self.path = "the shards"
        """What is being read."""
