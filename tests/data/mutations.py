"""Damage to files: turned bits, other bytes, lost ends, insertions, repeated parts."""

import random

_HEADER = 600  # Bytes in which the structure of most containers is described.


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Returns a damaged copy; half of the damage is at the beginning, where it does most."""
    raw = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        end = min(len(raw), _HEADER) if rng.random() < 0.5 else len(raw)
        at = rng.randrange(end) if end else 0
        match rng.randrange(5):
            case 0 if raw:
                raw[at] ^= 1 << rng.randrange(8)
            case 1 if raw:
                raw[at] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
            case 2 if rng.random() < 0.3:
                del raw[at:]
            case 3:
                raw[at:at] = rng.randbytes(rng.choice([1, 4, 50]))
            case _:
                raw[at:at] = raw[at : at + rng.choice([4, 100, 1000])]
    return bytes(raw)
