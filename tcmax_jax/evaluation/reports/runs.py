"""Reads the folders of finished runs: their differences, and whether one table may hold them."""

import glob
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from tcmax_jax import digests
from tcmax_jax.evaluation.comparison import RUN, grouped
from tcmax_jax.evaluation.reports.style import order
from tcmax_jax.files import file_name
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.upgrade import of_stored_run, upgraded

_RESTORE = "Restore the file, or leave the folder out of --runs."
_FILES = ("config", "data", "environments", "analysis", "results")
# What other modes train in place of the rest of a configuration; no run reads it.
_OTHER_RUNS = ("definitions", "comparison", "study")
# What other programs' files of these names do not have.
_FIELDS = {
    "config": ("name", "seed", "data", "modalities", "model", "method", "optimizer", "training"),
    "data": ("name", "class_names"),
    "results": ("splits", "step", "epoch"),
}
# What runs on the same data have in common.
_SAME = {"name": "the data set", "checksum": "the list of clips", "class_names": "the classes"}


def find_folders(patterns: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Finds the folders to report on.

    Args:
      patterns: folders of runs, of comparisons, which count as all their runs, and of studies; `*`
        stands for any folders. A folder that is named twice counts once.

    Returns:
      The folders of single runs, and those of studies.

    Raises:
      ValueError: no folders, or one that holds none of these.
    """
    if not any(patterns):
        raise ValueError(
            "Expected --runs=FOLDER,FOLDER/*,... with the folders of finished runs, got none. Each "
            "is the --workdir of a training, a comparison or a study."
        )
    runs, studies = {}, {}
    for pattern in filter(None, patterns):
        for folder in _matches(pattern):
            is_study = (folder / "study.json").is_file()
            folders = studies if is_study else runs
            for each in [folder] if is_study else _runs_in(folder):
                folders.setdefault(each.resolve(), each)
    return list(runs.values()), sorted(studies.values())


def read_runs(folders: Sequence[Path]) -> dict:
    """Reads the runs to report on, in an order independent of how the folders are given.

    Args:
      folders: of single runs, at least one.

    Returns:
      {"runs": [{"folder", "method": label, "fusion", "seed", "config", "data", "environments",
      "analysis", "results", "log": the entries of metrics.jsonl}], "failed": [{"folder", "method",
      "fusion", "seed", "config", "data", "reason"}] of runs that their comparison gave up}.

    Raises:
      ValueError: an unfinished run, a damaged file, runs on different data, or two runs of one
        method, fusion and seed.
    """
    read = [_read(folder) for folder in folders]
    methods = labels([run["config"]["method"] for run in read])
    fusions = labels([run["config"]["model"]["fusion"] for run in read])
    for run, method, fusion in zip(read, methods, fusions, strict=True):
        run |= {"method": method, "fusion": fusion, "seed": run["config"]["seed"]}
    read.sort(key=lambda run: (order(run["config"]["method"]["kind"]), itemgetter(*RUN)(run)))
    check_same_data(read)
    for (method, fusion, seed), (first, *others) in grouped(read, RUN).items():
        if others:
            raise ValueError(
                "Expected one run of each method with its options, fusion and seed, got two of "
                f"{method}, {fusion}, seed {seed}: {first['folder']} and {others[0]['folder']}. "
                "Leave one out."
            )
    runs = [run for run in read if "results" in run]
    if not runs:
        raise ValueError(
            f"Expected a run that succeeded, got {len(read)} that failed, the first one in "
            f"{read[0]['folder']}: {read[0]['reason']}"
        )
    return {"runs": runs, "failed": [run for run in read if "results" not in run]}


def _matches(pattern):
    if not glob.has_magic(pattern) or Path(pattern).exists():
        return [Path(pattern)]
    matching = map(Path, sorted(glob.glob(str(Path(pattern).expanduser()))))
    # The files of a comparison lie beside its runs.
    folders = [path for path in matching if path.is_dir()]
    if not folders:
        raise ValueError(
            f"Expected folders that match {pattern}, got none. Correct --runs, or train first."
        )
    return folders


def _runs_in(folder):
    if RunFolder(folder).config.is_file():
        return [folder]
    if (folder / "comparison.json").is_file():
        if runs := sorted(p.parent for p in folder.glob("*/config.json")):
            return runs
        raise ValueError(
            f"Expected the folders of runs in the comparison {folder}, got none. Restore them, or "
            "start the comparison again with the same command."
        )
    what = "which is not a folder" if not folder.is_dir() else "without a config.json"
    raise ValueError(
        f"Expected the folder of a run, a comparison or a study, got {folder}, {what}. Correct "
        "--runs."
    )


def _read(folder):
    run, files = {"folder": str(folder)}, RunFolder(folder)
    reason = None if files.results.exists() else _failure(folder)
    if reason:
        return run | {n: _file(folder, n) for n in ("config", "data")} | {"reason": reason}
    if not files.results.exists():
        raise ValueError(
            f"Expected a finished run in {folder}, got one without a {files.results.name}. Go on "
            "training with the command that began it, or leave the folder out of --runs."
        )
    if not files.analysis.exists():
        raise ValueError(
            f"Expected an {files.analysis.name} in {folder}, got none: the run was evaluated by an "
            f"earlier version. Write it with --mode=evaluate --workdir={folder}."
        )
    run |= {name: _file(folder, name) for name in _FILES} | {"log": _log(files.log)}
    if not run["results"].get("finished", True):  # Not said by runs of earlier versions.
        raise ValueError(
            f"Expected a finished run in {folder}, got one that was evaluated before its end. Go "
            "on training with the command that began it, or leave the folder out of --runs."
        )
    return run


def read_evaluated(folder: Path) -> dict:
    """Reads one evaluation: of a run, finished or not, or of a checkpoint in steps/<step>.

    Returns:
      {"folder", "run": path of the run that it is of, "config", "data", "analysis", "results",
      "log"}, see `read_runs`.

    Raises:
      ValueError: the folder holds no evaluation, or a damaged one.
    """
    run = folder.parents[1] if folder.parent.name == "steps" else folder
    if not RunFolder(run).config.is_file() or not RunFolder(folder).analysis.is_file():
        raise ValueError(
            f"Expected an evaluated run, or steps/<step> of one, in {folder}, got no config.json "
            "or analysis.json. Write them with --mode=evaluate, with --step for a checkpoint."
        )
    return {
        "folder": str(folder),
        "run": run.resolve(),
        **{name: _file(run, name) for name in ("config", "data")},
        **{name: _file(folder, name) for name in ("analysis", "results")},
        "log": _log(RunFolder(run).log),
    }


def read_provenance(folder: Path) -> dict:
    """Returns {"config", "data", "environments"} of a run, see `read_runs`.

    Raises:
      ValueError: damaged files.
    """
    return {name: _file(folder, name) for name in ("config", "data", "environments")}


def run_folder_name(run: Mapping) -> str:
    """Returns the name of a run's folder in that of its comparison."""
    return file_name(f"{run['method']}-{run['fusion']}-seed{run['seed']}")


def _failure(folder):
    """Returns why a run failed in its comparison, None if it did not."""
    path = folder.resolve().parent / "comparison.json"
    failed = digests.read_json(path, _RESTORE, ["failed"])["failed"] if path.exists() else []
    reasons = {run_folder_name(run): run["reason"] for run in failed}
    return reasons.get(folder.resolve().name)


def _file(folder, name):
    path = getattr(RunFolder(folder), name)
    content = digests.read_json(path, _RESTORE, _FIELDS.get(name, ()))
    if name != "config":
        return content
    content = {field: x for field, x in content.items() if field not in _OTHER_RUNS}
    return upgraded(of_stored_run(content))


def _log(path):
    entries = digests.read_json_lines(path, _RESTORE)
    if not entries:
        raise ValueError(f"Expected lines of JSON in {path}, got: no line. {_RESTORE}")
    return entries


def check_same_data(runs: Sequence[Mapping]) -> None:
    """Checks that all runs have the data of the first one.

    Raises:
      ValueError: they do not; names the folders and what differs.
    """
    first, *others = runs
    for run in others:
        for field, what in _SAME.items():
            ours, other = first["data"].get(field), run["data"].get(field)
            if ours != other:
                raise ValueError(
                    f"Expected runs on the same data, got {what} {_short(ours)} in "
                    f"{first['folder']} and {_short(other)} in {run['folder']}. Make a report for "
                    "each."
                )


def _short(value):
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def labels(sections: Sequence[Mapping]) -> list[str]:
    """Returns the label of each method or head: its kind, and options that differ within a kind.

    That is "joint" and, where another run has another projection, "mla (projection=owm)", of the
    section `method` of each configuration, or of `model.fusion`.
    """
    groups = grouped(sections, ["kind"])
    differing = {kind: [path for path, _ in differing_fields(g)] for (kind,), g in groups.items()}
    texts = []
    for section in sections:
        options = ", ".join(f"{o}={section.get(o)}" for o in differing[section["kind"]])
        texts.append(section["kind"] + (f" ({options})" if options else ""))
    return texts


def flat(tree: Mapping, path: str = "") -> dict:
    """Returns {"section.field": value} of a configuration."""
    fields = {}
    for name, value in tree.items():
        nested = isinstance(value, Mapping) and value
        fields |= flat(value, f"{path}{name}.") if nested else {path + name: value}
    return fields


def differing_fields(configs: Sequence[Mapping]) -> list[tuple[str, list]]:
    """Returns (path, the value in each configuration) of all fields that differ.

    A field that a configuration does not have is None there.
    """
    trees = [flat(config) for config in configs]
    paths = dict.fromkeys(path for tree in trees for path in tree)
    values = [(path, [tree.get(path) for tree in trees]) for path in paths]
    return [
        (path, of_runs) for path, of_runs in values if any(value != of_runs[0] for value in of_runs)
    ]
