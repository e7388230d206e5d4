"""What may happen to a file: the ends of writes that broke off, of disks, and of mix-ups."""

import json


def truncate(path):
    """Cuts a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    """Leaves nothing of a file's content."""
    path.write_bytes(b"")


def delete(path):
    """Leaves nothing of a file."""
    path.unlink()


def flip(path):
    """Turns all bits of a byte in the middle of a file, if it has one."""
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


HARMS = {"truncated": truncate, "emptied": empty, "deleted": delete, "one byte flipped": flip}


def change(path, text):
    """Writes a file as somebody may who knows what they do: the digest goes as well."""
    path.write_text(text)
    digests = path.parent / "digests.json"
    known = json.loads(digests.read_text())
    known.pop(path.name, None)
    digests.write_text(json.dumps(known))
