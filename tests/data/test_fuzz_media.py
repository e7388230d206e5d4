"""Damaged media: a result or a MediaError, no other error, no crash, no hang."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NORMAL, LONG = (0, 400, 120), (1, 20_000, 3000)  # seed, files, seconds after which it hangs


@pytest.mark.parametrize(
    "seed,number,seconds", [NORMAL, pytest.param(*LONG, marks=pytest.mark.slow)]
)
def test_damaged_media_are_read_or_refused(tmp_path, seed, number, seconds):
    command = [sys.executable, "-m", "tests.data.fuzz_media", str(seed), str(number), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    # Of both there have to be some in each reader, or the damage says little.
    readers = {name.split(":")[0] for name in outcomes}
    assert len(readers) == 6
    for reader in readers:
        assert min(outcomes[f"{reader}: {end}"] for end in ("read", "refused")) > 0.02 * number
