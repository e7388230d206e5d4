"""Small data sets of arrays that can be learnt: in memory, and as files with a list."""

import csv

import numpy as np

SPLITS = ("train", "train", "train", "validation", "test")


def motion(number=60, seed=0):
    """Returns ({"accel": series of several lengths, "pose": [N, 12, 3] float16}, labels)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 3
    steps = rng.integers(10, 20, number)
    time = np.arange(20)[:, None]
    accel = [
        (
            3 * np.sin(time[:n] * [0.3 + 0.3 * k, 0.5]) + [5, 100] + rng.normal(0, 0.3, (n, 2))
        ).astype(np.float32)
        for k, n in zip(labels, steps, strict=True)
    ]
    pose = np.eye(3)[labels][:, None] + 0.5 * rng.normal(size=(number, 12, 3))
    return {"accel": accel, "pose": pose.astype(np.float16)}, labels


def splits_of(number):
    """Returns the split of each of so many examples."""
    return [SPLITS[i // 3 % len(SPLITS)] for i in range(number)]


def ids_of(number):
    """Returns the ids of so many examples."""
    return [f"e{i}" for i in range(number)]


def write_list(path, labels, **columns):
    """Writes a CSV file of ids, labels and further columns."""
    columns = {"id": ids_of(len(labels)), "label": [f"c{k}" for k in labels], **columns}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_motion(folder, number=60, seed=0):
    """Writes `motion` as accel.npz, an array for each id, and pose.npy; returns the list's path."""
    values, labels = motion(number, seed)
    np.savez(folder / "accel.npz", **dict(zip(ids_of(number), values["accel"], strict=True)))
    np.save(folder / "pose.npy", values["pose"])
    return write_list(folder / "list.csv", labels, split=splits_of(number))
