"""TensorBoard events, written at once so that a killed process loses none.

`tensorboardX.SummaryWriter` buffers events in a thread for two minutes, so that the last ones of a
killed run would be in metrics.jsonl and missing in TensorBoard.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar, text


class EventFile:
    """A file of events in the folder of a run."""

    def __init__(self, folder: Path, *, first_step: int):
        """Opens a file; events after `first_step` in others, of an interrupted run, are void."""
        name = f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab")
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=first_step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Adds {tag: number} after a step."""
        parts = [scalar(tag, value).value[0] for tag, value in values.items()]
        self._add(Event(step=step, summary=Summary(value=parts)))

    def text(self, tag: str, markdown: str) -> None:
        """Adds a text."""
        self._add(Event(summary=text(tag, markdown)))

    def fileno(self) -> int:
        """Returns the file's descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, event):
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
        self._file.write(b"".join((length, next(checksums), data, next(checksums))))
        self._file.flush()
