"""Decoding of sound and frames from media files, in seconds of the clip's own time."""

from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media.frames import read_frame_pairs, read_frames
from tcmax_jax.data.media.sound import read_audio

__all__ = ["MediaError", "read_audio", "read_frame_pairs", "read_frames"]
