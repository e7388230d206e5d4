"""Progress of a preparation on standard error."""

import sys
from collections.abc import Sequence

from tqdm import tqdm

from tcmax_jax.data.preparation.chunks import Outcome

_LINES = 10


class Progress:
    """A bar over all clips on a terminal, a plain line for every tenth of them elsewhere."""

    def __init__(self, total: int):
        """Starts at none of `total` clips."""
        self._total = total
        self._done = 0
        self._skipped = 0
        # disable=None leaves the bar out where standard error is no terminal.
        self._bar = tqdm(total=total, unit="clip", file=sys.stderr, disable=None)

    def advance(self, outcomes: Sequence[Outcome]) -> None:
        """Counts some clips of one split."""
        before = self._done * _LINES // self._total
        self._done += len(outcomes)
        self._skipped += sum(outcome.reason is not None for outcome in outcomes)
        split = outcomes[0].split
        self._bar.set_description(split, refresh=False)
        self._bar.set_postfix(skipped=self._skipped, refresh=False)
        self._bar.update(len(outcomes))
        if self._done == self._total:
            self._bar.close()
        if self._bar.disable and self._done * _LINES // self._total > before:
            print(
                f"decoded {self._done}/{self._total} clips, {self._skipped} skipped ({split})",
                file=sys.stderr,
                flush=True,
            )
