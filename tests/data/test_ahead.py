"""Work ahead keeps the order, hands errors over, stays bounded and ends."""

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.data.ahead import ahead


def test_order_and_end() -> None:
    assert list(ahead(iter(range(50)), 3, "test")) == list(range(50))


def test_errors_come_where_they_belong() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("torn")

    made = ahead(items(), 2, "test")
    assert next(made) == 1
    with pytest.raises(ValueError, match="torn"):
        next(made)


def test_bounded_and_closed() -> None:
    count = [0]

    def items() -> Iterator[int]:
        while True:
            count[0] += 1
            yield count[0]

    made = ahead(items(), 2, "ahead-of-test")
    assert next(made) == 1
    time.sleep(0.3)
    assert count[0] <= 4
    made.close()
    deadline = time.monotonic() + 5
    while any(thread.name == "ahead-of-test" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
