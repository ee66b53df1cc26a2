"""What a person sees while shards are written or verified."""

import time

from data_prep.sharding import Watcher
from pipeline.log import ProgressLine, info, warn


class Terminal(Watcher):
    """Shows progress on stderr; ``what``: the job, for the progress line."""

    def __init__(self, what: str = "sharding") -> None:
        self._what = what
        self._line: ProgressLine | None = None
        self._done = self._images = self._bytes = 0
        self._began = time.monotonic()

    def inform(self, message: str) -> None:
        info(message)

    def notice(self, message: str) -> None:
        warn(message)

    def begin(self, images: int, images_done: int) -> None:
        self._began = time.monotonic()
        self._done = images_done
        if images_done and images_done < images:
            info(f"{images_done:,} of {images:,} images are in whole shards already")
        if images_done < images:
            self._line = ProgressLine(self._what, images, start=images_done)

    def advance(self, images: int, size: int) -> None:
        self._images += images
        self._bytes += size
        seconds = max(time.monotonic() - self._began, 1e-9)
        facts = {
            "img/s": f"{self._images / seconds:,.0f}",
            "MB/s": f"{self._bytes / 1e6 / seconds:,.1f}",
        }
        if self._line is not None:
            self._line.update(self._done + self._images, facts)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
