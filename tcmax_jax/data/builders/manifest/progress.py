"""Progress of a preparation on standard error."""

import sys

from tqdm import tqdm

LINES = 10


class Progress:
    """A bar over all rows on a terminal, a plain line for every tenth of them elsewhere."""

    def __init__(self, total: int):
        self._total = total
        self._done = 0
        self._skipped = 0
        # disable=None leaves the bar out where standard error is no terminal.
        self._bar = tqdm(total=total, unit="row", file=sys.stderr, disable=None)

    def advance(self, split: str, *, skipped: bool) -> None:
        """Count one row of a split."""
        self._done += 1
        self._skipped += skipped
        self._bar.set_description(split, refresh=False)
        self._bar.set_postfix(skipped=self._skipped, refresh=False)
        self._bar.update()
        if self._done == self._total:
            self._bar.close()
        tenth = self._done * LINES // self._total
        if self._bar.disable and tenth > (self._done - 1) * LINES // self._total:
            print(
                f"decoded {self._done}/{self._total} rows, {self._skipped} skipped ({split})",
                file=sys.stderr,
                flush=True,
            )
