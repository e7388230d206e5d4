"""What a run has logged outlives it."""

import json
import os

import pytest
from tensorboardX.record_writer import RecordWriter

from tcmax_jax.training import loop
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.logs import RunLog
from tests.training.event_files import event_values, events
from tests.training.tiny import tiny_config


def test_entries_are_in_the_files_of_a_killed_run(tmp_path):
    log = RunLog(tmp_path, tiny_config(), first_step=0, total_steps=9)
    for step in (2, 4):
        log.metrics(step, 1, "train", {"loss": 1 / step, "accuracy": 0.5})
    # A killed process would run nothing of what follows: neither threads nor handlers at exit.
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [0.5, 0.25]
    logged = [event for event in events(tmp_path) if event.summary.value[:1]]
    found = {(e.step, v.tag): v.simple_value for e in logged for v in e.summary.value}
    assert found[2, "train/loss"] == 0.5 and found[4, "train/loss"] == 0.25
    assert found[4, "train/accuracy"] == 0.5
    assert "configuration/text_summary" in {value.tag for value in event_values(tmp_path)}
    log.__exit__()


def test_events_are_records_as_tensorboard_reads_them(tmp_path):
    with RunLog(tmp_path, tiny_config(), first_step=0, total_steps=9) as log:
        log.metrics(2, 1, "train", {"loss": 1.0})
    (file,) = tmp_path.glob("events.out.tfevents.*")
    records = RecordWriter(str(tmp_path / "again"))
    for event in events(tmp_path):
        records.write(event.SerializeToString())
    records.close()
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    version, start, *_ = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    # TensorBoard drops what an interrupted run has logged from this step on.
    assert (start.step, start.session_log.status) == (1, start.session_log.START)


def test_no_checkpoint_is_ahead_of_the_log(tmp_path, monkeypatch):
    calls = []
    for owner, name in ((RunLog, "metrics"), (RunLog, "keep"), (Checkpoints, "save")):
        original = getattr(owner, name)

        def called(*arguments, name=name, original=original):
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(owner, name, called)
    config = tiny_config(training__epochs=1, training__checkpoint_every=2, training__probe=False)
    loop.train(config, tmp_path / "run", str(tmp_path / "data"))
    saves = [n for n, name in enumerate(calls) if name == "save"]
    assert len(saves) == 2 and all(calls[n - 1] == "keep" for n in saves)
    assert calls[-3:] == ["metrics", "keep", "save"]


@pytest.mark.parametrize(
    ("harm", "steps", "got"),
    [
        (lambda text: text, [1, 2, 3], None),
        (lambda text: text + '{"step": 4}\n{"st', [1, 2, 3], None),  # killed after the checkpoint
        (lambda text: text[:-9], [1, 2], "156 bytes in place of the 165"),
        (lambda text: text.replace("0.2", "0.3"), [1, 2, 3], "other content than digests.json"),
        (lambda text: text.replace('2, "ep', '2" "ep'), [1, 3], "other content than digests.json"),
        (lambda text: "", [], "0 bytes in place of the 165"),
        (None, [], "no such file"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_gap_is_said(tmp_path, capsys, harm, steps, got, known):
    config = tiny_config()
    with RunLog(tmp_path, config, first_step=0, total_steps=9) as log:
        for step in (1, 2, 3):
            log.metrics(step, 1, "train", {"loss": step / 10})
        log.keep()
    path = tmp_path / "metrics.jsonl"
    text = path.read_text()
    path.unlink() if harm is None else path.write_text(harm(text))
    if not known:  # as earlier versions left it, where a gap in the middle is not found
        (tmp_path / "digests.json").unlink()
        last = steps[-1] if steps else 0
        got = got and ("no such file" if harm is None else f"entries up to step {last}")
        got = None if steps[-1:] == [3] else got
    with RunLog(tmp_path, config, first_step=3, total_steps=9):
        pass
    said = capsys.readouterr().err
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == steps
    assert ("warning" in said) == (got is not None)
    assert not got or f"up to step 3, its last checkpoint, in {path}, got {got}" in said
    capsys.readouterr()
    with RunLog(tmp_path, config, first_step=steps[-1] if steps else 0, total_steps=9):
        assert "warning" not in capsys.readouterr().err  # It is said once.


def test_entries_that_are_kept_are_on_the_disk(tmp_path, monkeypatch):
    synced = []
    with RunLog(tmp_path, tiny_config(), first_step=0, total_steps=9) as log:
        monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
        log.keep()
    (events_file,) = tmp_path.glob("events.out.tfevents.*")
    files = [tmp_path / "metrics.jsonl", events_file]
    assert synced[:2] == [file.stat().st_ino for file in files]
