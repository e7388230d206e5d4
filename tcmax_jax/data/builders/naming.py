"""Names of prepared data sets, which tell their content apart.

Decoding processes import this module, so it must stay free of JAX and TensorFlow Datasets.
"""

import hashlib
import json
from collections.abc import Mapping

_DIGITS = 10


def digest(fields: Mapping, content: bytes = b"") -> str:
    """Returns the first digits of a SHA-256 over settings (as JSON, sorted) and a file's bytes."""
    text = json.dumps(fields, sort_keys=True).encode()
    return hashlib.sha256(text + content).hexdigest()[:_DIGITS]
