"""The folder of a run and the names of its files."""

from pathlib import Path

from tcmax_jax.files import local


class _Entry:
    """A file or folder in the folder of a run."""

    def __init__(self, name: str):
        self._name = name

    def __get__(self, folder, owner):
        return folder.path / self._name


class RunFolder:
    """Paths of all files of a run; steps/<step> in it holds evaluations of other checkpoints."""

    config = _Entry("config.json")
    data = _Entry("data.json")  # what it was trained on
    environments = _Entry("environments.json")  # where it began or went on
    log = _Entry("metrics.jsonl")
    checkpoints = _Entry("checkpoints")
    results = _Entry("results.json")
    analysis = _Entry("analysis.json")
    profile = _Entry("profile")
    plan = _Entry("plan.json")  # what it would need of a TPU slice
    lock = _Entry("lock")
    digests = _Entry("digests.json")  # see `tcmax_jax.digests`

    def __init__(self, path: Path):
        """Takes the path of the folder, which need not exist."""
        self.path = local(path)

    def outputs(self, split: str) -> Path:
        """Returns the file of the classifier's outputs for every example of a split."""
        return self.path / f"outputs-{split}.npz"

    def owns(self, path: Path) -> bool:
        """Returns whether a path is a file or folder of the run, or lies inside one."""
        named = (name for name, x in vars(RunFolder).items() if isinstance(x, _Entry))
        own = [getattr(self, name) for name in named]
        own += [*self.path.glob("outputs-*.npz"), *self.path.glob("events.*"), self.path / "steps"]
        path = path.resolve()
        return any(path == x.resolve() or x.resolve() in path.parents for x in own)

    def at(self, step: int | None) -> "RunFolder":
        """Returns the folder of a checkpoint's evaluation; that of the best one is this folder."""
        return self if step is None else RunFolder(self.path / "steps" / str(step))
