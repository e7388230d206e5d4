"""Checks of a run's folder: what belongs to it, and whether the run can be resumed."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tcmax_jax import digests
from tcmax_jax.data.datasets import Dataset
from tcmax_jax.data.scales import Scale
from tcmax_jax.files import json_text, parse_json
from tcmax_jax.packages import versions
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.overrides import differences
from tcmax_jax.training.config.tree import ConfigError, definitions, from_dict, to_dict
from tcmax_jax.training.environment import commit, describe_environment
from tcmax_jax.training.locks import LockedError, holder, locked
from tcmax_jax.training.parallel import Parallel
from tcmax_jax.training.processes import gather_texts, is_primary, together, wait_for_all
from tcmax_jax.upgrade import of_stored_run

_RESTORE = "Restore it from a copy."
_DEFINITIONS = "definitions"  # beside the sections of config.json
# Fields that change no number: a run may go on with others, on a machine of other speed.
_FREE = (
    "training.log_every",
    "training.checkpoint_every",
    "training.profile_steps",
    "training.threads",
    "training.held_mib",
    "training.workers",
    "comparison.methods",  # of other runs
    "comparison.fusions",
    "comparison.seeds",
    "study.field",
    "study.values",
)


def check(workdir: Path, config: Config) -> None:
    """Checks that the folder holds no run, or one of this configuration.

    Raises:
      ConfigError: it belongs to a run of another configuration, or of an unknown one; says in what
        they differ.
    """
    folder = RunFolder(workdir)
    if not folder.config.exists():
        for path in (folder.checkpoints, folder.log):
            if path.exists():
                raise ConfigError(
                    f"Expected {folder.config}, the configuration of the run whose {path.name} are "
                    f"there, got no such file. Restore it from a copy, or choose another --workdir."
                )
        return
    if lines := _differences(to_dict(stored_config(workdir)), config):
        raise ConfigError(
            f"{workdir} holds a run of another configuration:\n  "
            + "\n  ".join(lines)
            + "\nChoose another --workdir, or repeat the run with its own configuration."
        )


def _differences(before: Mapping, config: Config) -> list[str]:
    """Returns the fields in which configurations differ and that change results."""
    # What came of the raw data is compared by `check_data`.
    free = {*_FREE, *(f"data.{name}" for name in config.data.elsewhere)}
    for modality, form in config.data.forms.items():
        free |= {
            f"data.stored.{modality}.{name}"
            for name in getattr(form, "from_files", ())
            if getattr(form, name) is None
        }
    lines = differences(before, to_dict(config))
    return [line for line in lines if line.split(":")[0] not in free]


def check_agreement(config: Config) -> None:
    """Checks that all processes have one configuration, code and libraries; a collective.

    Raises:
      ConfigError: another process has others than the first; says in what they differ.
    """
    own = {"configuration": to_dict(config), "environment": versions() | {"commit": commit()}}
    first, *others = map(parse_json, gather_texts(json_text(own)))
    for number, other in enumerate(others, start=1):
        lines = [*_differences(first["configuration"], from_dict(other["configuration"]))]
        lines += differences(first["environment"], other["environment"])
        _refuse_differences(lines, number)


def check_one_dataset(dataset: Dataset) -> None:
    """Checks that all processes have opened the same data; a collective.

    Raises:
      ConfigError: another process has other data than the first.
    """
    first, *others = map(parse_json, gather_texts(json_text(_identity(dataset))))
    for number, other in enumerate(others, start=1):
        _refuse_differences(differences(first, other), number)


def _refuse_differences(lines: Sequence[str], number: int) -> None:
    if lines:
        raise ConfigError(
            f"Expected the same run in all processes, got another one in process {number} than in "
            "process 0:\n  " + "\n  ".join(lines) + "\nStart all with one command, one code and "
            "the same data."
        )


def check_data(workdir: Path, dataset: Dataset) -> None:
    """Checks that the run in the folder, if any, was trained on this data.

    Raises:
      ConfigError: the data (its name holds a digest of its settings and its list) has changed.
    """
    path = RunFolder(workdir).data
    if not digests.is_due(path):
        return  # Nothing was begun there, or by an early version.
    stored = stored_data(workdir)
    now = _identity(dataset)
    if {name: stored.get(name) for name in now} != now:
        raise ConfigError(
            f"{workdir} holds a run on {_describe(stored)}, and the configuration now gives "
            f"{_describe(now)}. Choose another --workdir, or restore the data, for "
            "instance the manifest as it was."
        )


@contextlib.contextmanager
def occupied(workdir: Path) -> Iterator[None]:
    """Locks the folder against other runs, and creates it if needed.

    Raises:
      ConfigError: another run is going on there, or the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with together():
            if is_primary():
                _enter(stack, workdir)
        yield


def _enter(stack, workdir):
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(RunFolder(workdir).lock, wait=False))
    except LockedError as error:
        raise ConfigError(
            f"Another run is using {workdir} ({error}). Wait for its end, stop it, or choose "
            "another --workdir."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"Expected a folder that can be written, got {workdir}: {error.strerror}. Choose "
            "another --workdir."
        ) from error


def owner(workdir: Path) -> str | None:
    """Returns which process has locked the folder, None if none has."""
    return holder(RunFolder(workdir).lock)


def claim(
    workdir: Path,
    config: Config,
    dataset: Dataset,
    label_prior: Sequence | None = None,
    scales: Mapping[str, Scale] = MappingProxyType({}),
) -> None:
    """Writes data.json and config.json to the folder of a new run.

    Args:
      workdir: folder of the run.
      config: its configuration.
      dataset: its data.
      label_prior: [C] prior of the method that was counted on the data; None for none. With it the
        classifier can be used where the data is not.
      scales: {modality: what its inputs are standardised by}, for the same reason.
    """
    if is_primary() and not RunFolder(workdir).config.exists():
        prior = None if label_prior is None else np.asarray(label_prior).tolist()
        decoded = dataset.summary.get("versions", {})
        data = _identity(dataset) | {
            "label_prior": prior,
            "scales": {m: scale._asdict() for m, scale in scales.items()},
            "versions": dict(decoded),
        }
        digests.write(RunFolder(workdir).data, json_text(data))
        elsewhere = {_DEFINITIONS: found} if (found := definitions(config)) else {}
        tree = json_text(to_dict(config) | elsewhere)
        digests.write(RunFolder(workdir).config, tree)
    wait_for_all("claim")


def record_environment(
    workdir: Path, step: int, parallel: Parallel, say: Callable[[str], None]
) -> None:
    """Records the environment of a run at its start or when resumed, and reports changes.

    environments.json holds {"after_step": int, **versions, commit, host and devices} for each
    change.

    Args:
      workdir: folder of the run.
      step: steps that were taken before.
      parallel: the devices.
      say: function of a text.
    """
    path, now = RunFolder(workdir).environments, describe_environment(parallel.devices)
    lost = "Its records of earlier starts are lost; a new file is started."
    before = digests.read_json_or_none(path, say, lost) if step else None
    # What lies after the checkpoint is taken again, here.
    before = [entry for entry in before or [] if entry["after_step"] < step]
    if before and step:
        last = {name: value for name, value in before[-1].items() if name != "after_step"}
        if not (lines := differences(last, now)):
            return
        say(
            f"The run resumes after step {step} in another environment:\n  "
            + "\n  ".join(lines)
            + "\nEqual to a run without the change: configuration, state, and the order, "
            "augmentation and negatives of the data. Not equal to the last bit: sums that other "
            "devices or versions take in another order, and statistics of batch normalisation "
            "where model.sync_batch_norm is off."
        )
    if is_primary():
        entries = [*before, {"after_step": step, **now}]
        digests.write(path, json_text(entries) + "\n")


def stored_config(workdir: Path) -> Config:
    """Returns the configuration of the run in a folder.

    Sections that a recipe has defined are known if it was imported; nothing is imported here.

    Raises:
      ConfigError: there is no run, or its configuration cannot be read.
    """
    path = RunFolder(workdir).config
    if not path.exists():
        raise ConfigError(
            f"Expected the folder of a run, got {workdir} without a {path.name}. Train first, or "
            "correct --workdir."
        )
    tree = _stored_tree(workdir)
    elsewhere = tree.pop(_DEFINITIONS, {})
    try:
        return from_dict(of_stored_run(tree))
    except ValueError as error:
        remedy = _RESTORE
        if elsewhere:
            texts = (f"{kind} in {_file(where)}" for kind, where in elsewhere.items())
            remedy = (
                f"It has sections defined elsewhere: {', '.join(texts)}. Pass --experiment=FILE."
            )
        raise ConfigError(f"{path} cannot be used: {error}. {remedy}") from error


def has_definitions(workdir: Path) -> bool:
    """Returns whether the run in a folder has sections that a recipe has defined."""
    return bool(_stored_definitions(workdir))


def changed_definitions(workdir: Path, config: Config) -> list[str]:
    """Returns the files that define sections of a run and have changed since its training.

    Args:
      workdir: folder of the run.
      config: its configuration, with the sections as they are defined now.
    """
    now, files = definitions(config), []
    for kind, where in _stored_definitions(workdir).items():
        digest = where.get("sha256") if isinstance(where, dict) else None
        if digest and digest != now.get(kind, {}).get("sha256", digest):
            files.append(now[kind]["file"])
    return sorted(set(files))


def _stored_definitions(workdir: Path) -> dict:
    return _stored_tree(workdir).get(_DEFINITIONS, {}) if RunFolder(workdir).config.exists() else {}


def _stored_tree(workdir) -> dict:
    return digests.read_json(RunFolder(workdir).config, _RESTORE, ["method"])


def _file(definition: Mapping | str) -> str:
    """Returns the file of a definition; version 0.2 wrote the file alone."""
    return definition if isinstance(definition, str) else definition["file"]


def stored_data(workdir: Path) -> dict:
    """Returns the description of a run's data, from the run's folder.

    Returns:
      {"name", "class_names", "checksum", "label_prior", "scales": {modality: {"mean", "std"}},
      "versions": of the packages that prepared it}; runs of earlier versions lack the last ones.
    """
    return digests.read_json(RunFolder(workdir).data, _RESTORE, ["name", "class_names"])


def _identity(dataset):
    return {
        "name": dataset.name,
        "class_names": list(dataset.class_names),
        "checksum": dataset.summary.get("checksum"),
    }


def _describe(identity):
    clips = f", list {identity['checksum'][:16]}" if identity.get("checksum") else ""
    return f"the data set {identity['name']} ({len(identity['class_names'])} classes{clips})"
