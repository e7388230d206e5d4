"""Inputs are data: no reader runs what a file holds, and none takes memory for what it declares."""

import ast
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tcmax_jax import npz
from tcmax_jax.commands.estimate import Estimation, estimate_file
from tcmax_jax.data.array_files import check_rows, read_row
from tcmax_jax.data.clips import Clip
from tcmax_jax.estimators.samples import read_samples
from tcmax_jax.models.convert import read_arrays

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tcmax_jax"
SERIALISERS = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml",
}  # fmt: skip
RUNNERS = {"eval", "exec", "compile", "__import__", "execfile"}
LOADERS = {("np", "load"): ("allow_pickle", False), ("torch", "load"): ("weights_only", True)}


def offences(source):
    """Returns a line for each thing in a file that could run code that it has read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names]
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [m for m in modules if m.split(".")[0] in SERIALISERS]
        elif isinstance(node, ast.Call):
            found += _offence_of_call(node)
    return found


def _offence_of_call(node):
    match node.func:
        case ast.Name(id=name) if name in RUNNERS:
            return [name]
        case ast.Attribute(attr=("exec_module" | "read_pickle" | "fromregex") as name):
            return [name]
        case ast.Attribute(value=ast.Name(id=module), attr=name) if (module, name) in LOADERS:
            option, value = LOADERS[module, name]
            given = {k.arg: k.value for k in node.keywords}
            if not (isinstance(given.get(option), ast.Constant) and given[option].value is value):
                return [f"{module}.{name}"]
    return []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "from os import path, system; import a, marshal.b",
        "eval('1')",
        "def f(x): return exec(x)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "torch.load(path)",
        "spec.loader.exec_module(module)",
    ],
)
def test_the_rule_sees_offences(source):
    assert offences(source)


def test_the_package_runs_nothing_that_it_reads():
    found = {str(p.relative_to(PACKAGE)): offences(p.read_text()) for p in PACKAGE.rglob("*.py")}
    # An experiment is code, which the user names on the command line.
    assert {path: lines for path, lines in found.items() if lines} == {
        "loaded_recipe.py": ["exec", "compile"]
    }


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


CLIP = Clip("a", "train", "cat", row=0)
READERS = {
    "feature": (lambda path: read_row(path, CLIP), ("npy", "npz")),
    "rows": (lambda path: check_rows(path, 1), ("npy",)),
    "weights": (read_arrays, ("npz",)),
    "samples": (read_samples, ("npz",)),
    "estimates": (lambda path: estimate_file(path, path.parent / "out", Estimation()), ("npz",)),
}
KINDS = [(name, kind) for name, (_, kinds) in READERS.items() for kind in kinds]


def objects(path, target):
    """An array of objects where numbers are expected."""
    array = np.array([Bomb(target)], object)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, ids=np.array(["a"]), features=array)


def structured(path, target):
    """Objects as a field beside numbers."""
    array = np.array([(1.0, Bomb(target))], [("x", "f4"), ("y", "O")])
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, ids=np.array(["a"]), features=array)


def bare(path, target):
    """No array, but a pickle, which numpy.load would read too."""
    path.write_bytes(pickle.dumps(Bomb(target)))


@pytest.mark.parametrize("write", [objects, structured, bare])
@pytest.mark.parametrize("name,kind", KINDS)
def test_nothing_is_unpickled(tmp_path, name, kind, write):
    path, target = tmp_path / f"a.{kind}", tmp_path / "made"
    write(path, str(target))
    with pytest.raises(ValueError, match=rf"{path}"):
        READERS[name][0](path)
    assert not target.exists()


def test_the_bomb_is_live(tmp_path):
    pickle.loads(pickle.dumps(Bomb(str(tmp_path / "made"))))
    assert (tmp_path / "made").exists()


def test_checkpoints_of_torch_are_read_as_weights_only(tmp_path, monkeypatch):
    def load(path, map_location, weights_only):
        assert map_location == "cpu" and weights_only is True
        return contents.pop()

    class Tensor:
        float = lambda self: self
        numpy = lambda self: np.ones(2)

    contents = [[1, 2], {"a": 3}, {"model": {"module.a": Tensor()}}]
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
    (tmp_path / "w.pt").touch()
    np.testing.assert_array_equal(read_arrays(tmp_path / "w.pt")["a"], np.ones(2))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"nothing but named tensors, got .*w\.pt: .*state"):
            read_arrays(tmp_path / "w.pt")


NPZ = [name for name, kind in KINDS if kind == "npz"]


@pytest.mark.parametrize("name", NPZ)
def test_files_that_declare_too_much_are_not_read(tmp_path, monkeypatch, name):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, ids=np.array(["a"]), features=np.zeros((1, 1_000_000)))
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(npz, "MAX_BYTES", 8_000_000)
    with pytest.raises(ValueError, match=r"a\.npz.* at most 8000000 bytes of arrays, got 8000\d+;"):
        READERS[name][0](path)


@pytest.mark.parametrize("name", NPZ)
@pytest.mark.parametrize("shape", ["(9999999999999,)", "(99999999999999999999999,)"])
def test_arrays_that_declare_more_than_there_is(tmp_path, name, shape):
    path = tmp_path / "a.npz"
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(path, "w") as file:
        for member in ("ids", "features"):
            file.writestr(f"{member}.npy", array + bytes(80))
    with pytest.raises(ValueError, match=r"a\.npz"):
        READERS[name][0](path)
