"""Transfer of batches from the pipeline to the devices."""

import collections
import time
from collections.abc import Callable, Iterator


class Feed:
    """An iterator that moves batches to the devices ahead of use, and measures how long it waited.

    While a step runs, the next batches are already on their way. Time spent blocked on the pipeline
    is an upper bound of what the devices lost: steps may still be running meanwhile.
    """

    def __init__(self, batches: Iterator, put: Callable, *, ahead: int = 2):
        """Takes batches from `batches`, and lets `put` start moving `ahead` of them."""
        self._batches = batches
        self._put = put
        self._ahead = ahead
        self._queue = collections.deque()
        self._waited = 0.0

    def __iter__(self):
        """Returns itself."""
        return self

    def __next__(self):
        """Returns the next batch as returned by `put`."""
        self._fill(1 + self._ahead)
        if not self._queue:
            raise StopIteration
        return self._queue.popleft()

    def waited(self) -> float:
        """Returns the seconds blocked on the pipeline since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def _fill(self, size):
        while len(self._queue) < size:
            begin = time.monotonic()
            batch = next(self._batches, None)
            self._waited += time.monotonic() - begin
            if batch is None:
                return
            self._queue.append(self._put(batch))
