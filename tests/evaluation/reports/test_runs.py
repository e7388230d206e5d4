"""Folders of runs: what is read, in which order, and which cannot stand in one table."""

import json
import re

import pytest

from tests.evaluation.reports.made_runs import config, read_found, write_run


def names(read):
    return [(run["method"], run["fusion"], run["seed"]) for run in read["runs"]]


def refused(patterns, *parts):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, parts))):
        read_found([str(p) for p in patterns])


def write_comparison(folder, failed=()):
    for method in ("tcmax", "joint"):
        write_run(folder / f"{method}-concat-seed0", config(method))
    (folder / "comparison.json").write_text(json.dumps({"rows": [], "failed": list(failed)}))
    return folder


def test_order_does_not_depend_on_the_arguments(tmp_path):
    folders = [
        str(write_run(tmp_path / name, config(method, seed=seed)))
        for name, method, seed in (("a", "tcmax", 1), ("b", "tcmax", 0), ("c", "joint", 5))
    ]
    expected = [("joint", "concat", 5), ("tcmax", "concat", 0), ("tcmax", "concat", 1)]
    assert names(read_found(folders)) == names(read_found(folders[::-1])) == expected


def test_a_comparison_counts_as_its_runs_and_a_folder_counts_once(tmp_path):
    folder = write_comparison(tmp_path / "all")
    expected = [("joint", "concat", 0), ("tcmax", "concat", 0)]
    # The files beside the runs of a comparison are no folders.
    patterns = [f"{folder}", f"{folder}/*", f"{folder}/joint-concat-seed0"]
    for chosen in (patterns[:1], patterns[1:2], patterns):
        assert names(read_found(chosen)) == expected


def test_options_that_differ_are_part_of_the_name(tmp_path):
    for seed in (0, 1):
        for projection in ("off", "owm"):
            tree = config("mla", "share_head", seed, projection=projection)
            write_run(tmp_path / f"{projection}{seed}", tree)
    methods = {run["method"] for run in read_found([f"{tmp_path}/*"])["runs"]}
    assert methods == {"mla (projection=off)", "mla (projection=owm)"}
    methods = {run["method"] for run in read_found([f"{tmp_path}/owm*"])["runs"]}
    assert methods == {"mla"}


def test_failed_runs_of_a_comparison_are_told_of(tmp_path):
    failure = {"method": "tcmax", "fusion": "concat", "seed": 0, "reason": "loss = nan"}
    folder = write_comparison(tmp_path / "all", [failure])
    (folder / "tcmax-concat-seed0" / "results.json").unlink()
    for pattern in (folder, f"{folder}/*"):
        read = read_found([str(pattern)])
        assert names(read) == [("joint", "concat", 0)]
        (failed,) = read["failed"]
        assert {k: failed[k] for k in failure} == failure
    (folder / "joint-concat-seed0" / "config.json").unlink()
    refused([folder], "Expected a run that succeeded, got 1 that failed", "loss = nan")


@pytest.mark.parametrize("patterns", [[], [""]])
def test_no_folders(patterns):
    refused(patterns, "Expected --runs=FOLDER,FOLDER/*,... with the folders of finished runs, got")


def test_folders_that_hold_no_run(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    refused([tmp_path / "empty"], "got", "empty, without a config.json. Correct --runs.")
    refused([tmp_path / "file"], "got", "file, which is not a folder. Correct --runs.")
    refused([tmp_path / "none"], "got", "none, which is not a folder. Correct --runs.")
    refused([tmp_path / "f*"], "Expected folders that match", "f*, got none.")
    (tmp_path / "empty" / "comparison.json").write_text("{}")
    refused([tmp_path / "empty"], "Expected the folders of runs in the comparison", "empty, got")


def test_unfinished_runs(tmp_path):
    done, begun = write_run(tmp_path / "done"), write_run(tmp_path / "begun", config("tcmax"))
    results = json.loads((begun / "results.json").read_text())
    (begun / "results.json").write_text(json.dumps(results | {"finished": False}))
    refused([done, begun], "Expected a finished run in", "got one that was evaluated before its")
    (begun / "analysis.json").unlink()
    refused([done, begun], "Expected an analysis.json in", "begun", "--mode=evaluate --workdir=")
    (begun / "results.json").unlink()
    refused([done, begun], "Expected a finished run in", "begun, got one without a results.json.")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "{", "Expected JSON in {path}, got: "),
        ("results.json", '{"splits": {}}', "Expected a field 'step' in {path}, got none"),
        ("metrics.jsonl", "{}\n{", "Expected JSON in {path}, got: "),
        ("metrics.jsonl", "", "Expected lines of JSON in {path}, got: no line"),
        ("environments.json", None, "Expected {path} as it was written, got no such file"),
    ],
)
def test_damaged_files(tmp_path, file, text, message):
    path = write_run(tmp_path / "run") / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    refused([tmp_path / "run"], message.format(path=path))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"name": "other/1.0.0"}, "the data set made/1.0.0 in {a} and other/1.0.0 in {b}"),
        ({"checksum": "ab12"}, "the list of clips None in {a} and ab12 in {b}"),
        ({"classes": 3}, "the classes class 0, class 1, class 2, class 3 in {a} and class 0"),
    ],
)
def test_runs_of_other_data(tmp_path, other, message):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", config("tcmax"), **other)
    refused([a, b], f"Expected runs on the same data, got {message.format(a=a, b=b)}", "each.")


def test_two_runs_of_one_method_fusion_and_seed(tmp_path):
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", config(changes={"optimizer": {"learning_rate": 0.01}}))
    refused([a, b], f"got two of joint, concat, seed 0: {a} and {b}. Leave one out.")
