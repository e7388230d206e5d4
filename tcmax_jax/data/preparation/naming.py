"""Names of prepared data sets, which tell their content apart.

Decoding processes import this module, so it must stay free of JAX and TensorFlow Datasets.
"""

import hashlib
import json
from collections.abc import Mapping

_DIGITS = 10


def digest(fields: Mapping, content: bytes = b"") -> str:
    """Returns the first digits of a SHA-256 over settings (as JSON, sorted) and a file's bytes.

    Numbers count by their value, so that 1 and 1.0 are the same setting.
    """
    text = json.dumps(_floats(fields), sort_keys=True).encode()
    return hashlib.sha256(text + content).hexdigest()[:_DIGITS]


def _floats(value):
    if isinstance(value, Mapping):
        return {name: _floats(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
