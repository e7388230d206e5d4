"""Tiny raw folders of the six data sets, in the containers and layouts of their owners."""

import json
from pathlib import Path

import numpy as np

from tcmax_jax.data.array_files import write_features
from tcmax_jax.data.forms import Features
from tcmax_jax.data.sources.ave import AveData
from tcmax_jax.data.sources.crema_d import CremaDData
from tcmax_jax.data.sources.kinetics_sounds import KineticsSoundsData
from tcmax_jax.data.sources.mvsa import MvsaData
from tcmax_jax.data.sources.ucf101 import Ucf101Data
from tcmax_jax.data.sources.vggsound import VggsoundData
from tests.data.media_files import flat_frames, tone, write_media
from tests.data.small_forms import ALONE, AUDIO_VISUAL, FLOW, PICTURES

FRAMES = flat_frames([40, 90, 140, 190])
SOUND = tone(0.4)


def clip(path: Path) -> Path:
    """Writes a clip in the container that the file's name asks for."""
    codecs = {
        ".mp4": {"audio_codec": "aac"},
        ".mkv": {"audio_codec": "aac"},
        ".flv": {"video_codec": "flv1", "audio_codec": "libmp3lame", "rate": 44100},
        ".avi": {},
    }[path.suffix]
    sound = tone(0.4, rate=codecs.get("rate", 16000))
    return write_media(path, frames=FRAMES, audio=sound, **codecs)


def crema_d(folder: Path) -> list[Path]:
    """Eight clips of four actors, and the list of six of them."""
    media = []
    for actor in range(1001, 1005):
        for emotion in ("ANG", "HAP"):
            name = f"{actor}_DFA_{emotion}_XX"
            media.append(clip(folder / "VideoFlash" / f"{name}.flv"))
            media.append(write_media(folder / "AudioWAV" / f"{name}.wav", audio=SOUND))
    names = sorted(path.stem for path in media if path.suffix == ".flv")
    rows = [f"{name},{name.split('_')[2]}" for name in names]
    (folder / "train.csv").write_bytes("\r\n".join(rows[:6]).encode())
    (folder / "test.csv").write_text("\n".join(rows[6:]) + "\n")
    return media


def kinetics_sounds(folder: Path) -> list[Path]:
    """Four training and two test clips of two classes, and one of a class that is left out."""
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    labels = ["tap dancing", "playing organ"]
    media, rows = [], {"train": "", "test": ""}
    for number in range(6):
        split = "train" if number < 4 else "test"
        name = f"-x_{number}"
        rows[split] += f'"{labels[number % 2]}",{name},{number},{number + 10},{split},0\n'
        label = labels[number % 2].replace(" ", "_")
        media.append(clip(folder / split / label / f"{name}_{number:06d}_{number + 10:06d}.mp4"))
    rows["train"] += "abseiling,zzz,0,10,train,0\n"
    for split, text in rows.items():
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{split}.csv").write_text(header + text)
    return media


def ave(folder: Path) -> list[Path]:
    """Four videos in six rows: one twice in train, one in train and test."""
    media = [clip(folder / "AVE" / f"{name}.mp4") for name in ("a-1", "b_2", "c", "d")]
    (folder / "trainSet.txt").write_text(
        "Church bell&a-1&good&0&10\nBaby cry, infant cry&b_2&good&2&5\nBark&a-1&good&5&8\n"
    )
    (folder / "valSet.txt").write_text("Bark&c&good&0&0\n")
    (folder / "testSet.txt").write_text(
        "Category&VideoID&Quality&StartTime&EndTime\nBark&d&good&0&3\nChurch bell&b_2&good&1&2\n"
    )
    return media


def vggsound(folder: Path) -> list[Path]:
    """Five clips in two classes, under three of the names that are in use."""
    (folder / "vggsound.csv").write_text(
        'a-b,1,"bird chirping, tweeting",train\nc,20,zebra braying,train\n'
        'd,3,zebra braying,train\ne,0,"bird chirping, tweeting",train\nf,5,zebra braying,test\n'
    )
    names = ["a-b_000001.mp4", "clips/vc_20_30_out.mkv", "d_000003.mp4", "e_0_10000.mp4"]
    return [clip(folder / name) for name in (*names, "test/f_000005.mp4")]


def ucf101(folder: Path) -> list[Path]:
    """Two classes with three groups of two clips for training, and one group for test."""
    (folder / "ucfTrainTestlist").mkdir(parents=True)
    media, lists = [], {"train": "", "test": ""}
    classes = ["ApplyEyeMakeup", "HandstandPushups"]
    for number, label in enumerate(classes, start=1):
        for group in range(1, 5):
            for take in (1, 2):
                name = label.replace("Handstand", "HandStand")
                path = f"{label}/v_{name}_g{group:02d}_c{take:02d}.avi"
                media.append(clip(folder / "UCF-101" / path))
                lists["train" if group < 4 else "test"] += (
                    f"{path} {number}\r\n" if group < 4 else f"{path}\r\n"
                )
    (folder / "ucfTrainTestlist" / "classInd.txt").write_bytes(
        b"1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n"
    )
    for split, text in lists.items():
        (folder / "ucfTrainTestlist" / f"{split}list01.txt").write_bytes(text.encode())
    return media


def mvsa(folder: Path) -> list[Path]:
    """Six tweets, and features of four entries each."""
    entries = [
        ("1", "train", "neutral"), ("2", "train", "positive"), ("3", "train", "negative"),
        ("4", "dev", "positive"), ("5", "test", "negative"), ("6", "test", "neutral"),
    ]  # fmt: skip
    for split in ("train", "dev", "test"):
        lines = [
            json.dumps({"id": tweet, "label": label, "text": "…", "img": f"data/{tweet}.jpg"})
            for tweet, own, label in entries
            if own == split
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    ids = [tweet for tweet, _, _ in entries]
    for name, size in (("image", 4), ("text", 4)):
        rows = np.arange(6 * size, dtype=np.float32).reshape(6, size)
        write_features(folder / f"{name}.npz", ids, rows)
    return [folder / "image.npz", folder / "text.npz"]


FEATURES = {"image": Features(path="image.npz", size=4), "text": Features(path="text.npz", size=4)}
CLASSES = ("playing organ", "tap dancing")

# kind: (writes the raw folder and returns its media, the source with its options but the folder)
DATA_SETS = {
    "crema_d_av": (crema_d, CremaDData(stored=AUDIO_VISUAL, **ALONE)),
    "kinetics_sounds": (
        kinetics_sounds,
        KineticsSoundsData(classes=CLASSES, validation_share=0.25, stored=AUDIO_VISUAL, **ALONE),
    ),
    "ave": (ave, AveData(stored=AUDIO_VISUAL, **ALONE)),
    "vggsound": (
        vggsound,
        VggsoundData(validation_share=0.25, stored=AUDIO_VISUAL, **ALONE),
    ),
    "ucf101_flow": (ucf101, Ucf101Data(stored={"visual": PICTURES, "flow": FLOW}, **ALONE)),
    "mvsa_features": (mvsa, MvsaData(stored=FEATURES, **ALONE)),
}
