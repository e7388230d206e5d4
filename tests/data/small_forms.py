"""Small stored forms, shared by the tests of preparation and builders."""

from tcmax_jax.data.forms import Flow, Frames, LogSpectrogram
from tests.data.media_files import RATE

SOUND = LogSpectrogram(rate=RATE, seconds=0.5, fill="tile", n_fft=64, hop=32)
PICTURES = Frames(count=2, short_side=16, box=(0, 0, 1, 1))
FLOW = Flow(count=3, short_side=16, box=(0, 0, 1, 1), bound=4.0)
AUDIO_VISUAL = {"audio": SOUND, "visual": PICTURES}
ALONE = {"allow_skipped": False, "processes": 1, "beam": None}
