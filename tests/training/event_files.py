"""TensorBoard events, read without TensorBoard."""

import struct

from tensorboardX.proto import event_pb2


def events(folder):
    """Yields the events of a folder, each behind its length and a checksum."""
    (file,) = folder.glob("events.out.tfevents.*")
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def event_values(folder):
    """Yields the values of all summaries of a folder's events."""
    for event in events(folder):
        yield from event.summary.value
