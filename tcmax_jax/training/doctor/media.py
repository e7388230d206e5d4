"""A first clip, decoded as preparation would."""

import time
from typing import NamedTuple

from tcmax_jax.data.clips import Listing
from tcmax_jax.data.limits import MediaError
from tcmax_jax.packages import install_line
from tcmax_jax.training.config import Config
from tcmax_jax.training.doctor.findings import Finding


class Decoded(NamedTuple):
    """What came of a clip.

    Attributes:
      lines: what was decoded, a line for each modality.
      findings: what is wrong.
    """

    lines: list[str]
    findings: list[Finding]


def try_clip(config: Config, listing: Listing) -> Decoded:
    """Decodes the first listed clip in each stored form of a configuration.

    Args:
      config: a configuration of clips.
      listing: its clips.
    """
    lines, findings = [], []
    missing = {"train", "validation"} - {clip.split for clip in listing.clips}
    if missing:
        text = f"No clip has the split {' or '.join(sorted(missing))}. Preparation refuses that."
        findings.append(Finding("error", text))
    if not listing.clips:
        return Decoded(lines, findings)
    clip = listing.clips[0]
    for modality, form in config.data.forms.items():
        file, begin = form.file(clip), time.monotonic()
        try:
            if file is None:
                raise MediaError(
                    "no file", f"{clip.place}: expected a file for {modality}, got none"
                )
            value = form.read(clip).value
        except MediaError as error:
            findings.append(Finding("error", f"The first clip cannot be decoded: {error}."))
        except ModuleNotFoundError as error:
            text = f"Clips cannot be decoded without {error.name}: {install_line(error.name)}"
            findings.append(Finding("error", text))
        else:
            seconds = time.monotonic() - begin
            shape = " x ".join(map(str, form.shape))
            size = f"{sum(map(len, value))} bytes" if form.dtype is None else str(value.dtype)
            lines.append(f"{modality} of {file}: {shape}, {size}, {1000 * seconds:.0f} ms")
    return Decoded(lines, findings)
