"""Reading of .npz files: damaged ones, and ones too large for memory, are refused."""

import contextlib
import struct
import tokenize
import weakref
import zipfile
import zlib

import numpy as np

# All arrays of one file: the features of 2 million clips at 2048 entries in float32.
MAX_BYTES = 2**34
# What a damaged member raises: by its checksum, in decompression, at its header, which numpy reads
# as the text of a dictionary, or its end, where damage looks like a kind of zip file that is not
# supported (RuntimeError), like another kind of file (AttributeError, TypeError), or like sizes
# that cannot be (MemoryError, OverflowError).
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
)


def open_npz(path) -> np.lib.npyio.NpzFile:
    """Opens an .npz file after checking the sizes that it declares.

    `zipfile` gives no member more than it declares. `numpy.load` would leave a file open that turns
    out to be damaged.

    Args:
      path: the file.

    Raises:
      ValueError: its arrays together are larger than `MAX_BYTES`.
      Exception: one of `DAMAGED`.
    """
    with contextlib.ExitStack() as opened:
        stream = opened.enter_context(open(path, "rb"))
        file = np.lib.npyio.NpzFile(stream, own_fid=True)
        total = sum(member.file_size for member in file.zip.infolist())
        if total > MAX_BYTES:
            raise ValueError(
                f"expected at most {MAX_BYTES} bytes of arrays, got {total}; a compressed file can "
                "declare any size, so split it if it is right"
            )
        opened.pop_all()
    # Of a circle of objects, such as an error with its frames, the stream might go first.
    weakref.finalize(file, stream.close)
    return file
