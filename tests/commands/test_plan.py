"""What a run would need of a slice: names, costs as the compiler says, the whole where that is."""

import importlib.util
import json
import os
from unittest import mock

import pytest

from tcmax_jax.commands.modes import Options
from tcmax_jax.commands.plan import plan as planning
from tcmax_jax.commands.plan import slices
from tcmax_jax.commands.plan.cost import Collective, Cost
from tcmax_jax.commands.stand_in import stand_in
from tcmax_jax.training.build import build
from tcmax_jax.training.config.overrides import load_experiment, override
from tests.test_experiments import EXPERIMENTS
from tests.training.tiny import tiny_config

MIB = 2**20


@pytest.mark.parametrize("name", ["v9:2x2", "v5e", "v5e:4", "v5e:3x4", "v5p:4x4", "v5e:4xx4"])
def test_slices_that_are_not_known(name):
    with pytest.raises(ValueError, match=rf"--topology as v5e or v6e with two even .*'{name}'\.$"):
        slices.find_slice(name)


def test_the_compiler_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as raised:
        slices.find_slice("v5e:2x2")
    assert raised.value.name == "libtpu"  # which the command turns into a line that installs it


@pytest.mark.parametrize(
    ("recipe", "classes"),
    [
        *(("crema_d", 6), ("kinetics_sounds", 31), ("ave", 28), ("vggsound", 309)),
        *(("ucf101", 101), ("mvsa", 3), ("synthetic", 10), ("own_clips", None)),
    ],
)
def test_classes_without_the_data(recipe, classes, tmp_path):
    config = load_experiment(str(EXPERIMENTS / f"{recipe}.py"))
    assert planning.known(config, str(tmp_path)) == (config, classes)


def cost(memory, **fields):
    return Cost(memory, 2e12, 3e9, {"all-reduce": Collective(4, 5000)}, 0)._replace(**fields)


@pytest.mark.parametrize(
    ("base", "each", "bend", "expected", "compiled"),
    [
        (1000, 300, 0, 50 * 4, [1, 4, 50]),  # as predicted
        (1000, 300, 1, 40 * 4, [1, 4, 50, 45, 40]),  # more than predicted
        (1000, 5000, 0, 3 * 4, [1, 4, 3]),  # four times as many do not fit
        (1000, 20000, 0, None, [1]),
        (1000, 1, 0, 64 * 4, [1, 4, 64]),  # no further
    ],
)
def test_the_largest_batch(monkeypatch, devices, base, each, bend, expected, compiled):
    tried = []

    def compile_cost(name, lower, setup, rows):
        parts = rows // 4
        tried.append(parts)
        memory = base + each * parts + 1000 * bend * max(parts - 42, 0)
        return cost(memory * MIB) if memory <= 16000 else None

    monkeypatch.setattr(planning, "_compile", compile_cost)
    config = tiny_config(training__batch_size=4)
    setup = build(config, None, devices, stand_in(config, 3))
    chip = slices.CHIPS["v5e"]._replace(memory=16000 * MIB)
    chips = slices.Slice("v5e:2x2", chip, devices, 1)
    training = compile_cost("training", None, setup, 4)
    assert planning._largest_batch(setup, chips, training) == expected
    assert tried[training is None :] == compiled


def test_a_plan_as_text():
    chips = slices.Slice("v5e:4x4", slices.CHIPS["v5e"], [None] * 16, 4)
    planned = {
        "recipe": "pets",
        **{"topology": chips.name, "chips": 16, "hosts": 4, "classes": None, "memory": 2**34},
        **{"method": "tcmax", "head": "sum", "dtype": "float32", "parallel": "pmap"},
        **{"batch_size": 32, "eval_batch_size": 64, "accumulate": 1, "sync_batch_norm": True},
        "versions": {"jax": "1", "libtpu": "2"},
        "training": planning._described(cost(300 * MIB, loops=3), chips),
        "evaluation": planning._described(cost(100 * MIB, collectives={}), chips),
        "loss": {"flops": 0.001, "bytes": 0.002, "collectives": {"all-reduce": 2}},
        **{"examples_per_second": 3200.0, "largest_batch": 512},
    }
    lines = planning.plan_text(planned).splitlines()
    assert lines[:3] == [
        "pets on v5e:4x4: 16 chips, 4 hosts. tcmax with the head sum, float32, pmap,",
        "batch statistics of all chips.",
        "",
    ]
    table = [line.split("  ") for line in lines[3:12]]
    cells = [[cell.strip() for cell in row if cell] for row in table if any(row)]
    assert cells == [
        ["one chip, one step", "training", "evaluation"],
        ["batch, all chips", "32", "64"],
        ["memory at the peak", "300 of 16384 MiB", "100 of 16384 MiB"],
        ["FLOPs", "2 T", "2 T"],
        ["time at peak FLOP/s", "10.2 ms", "10.2 ms"],
        ["HBM traffic", "3 GB", "3 GB"],
        ["time at peak bandwidth", "3.66 ms", "3.66 ms"],
        ["all-reduce", "4, 5 kB", "0"],
    ]
    text = " ".join(lines)
    assert (
        "The loss takes 0.10% of the FLOPs and 0.20% of the HBM traffic of the training step, and "
        "needs 2 all-reduce." in text
    )
    assert "at most 3200 examples/s; each host then has to provide 800 of them." in text
    assert "The largest batch found to fit is 512" in text
    assert "TPU compiler (libtpu 2, jax 1); nothing was measured." in text
    assert "count once (loops: 3)" in text
    assert "number of classes is unknown without the data: 100 were assumed." in text
    none = planning.plan_text(planned | {"training": None, "largest_batch": None})
    assert "does not fit. Raise training.accumulate" in none.replace("\n", " ")
    assert "Not even one example per chip fits." in none


def test_a_run_is_compiled_for_a_slice(devices, tmp_path, monkeypatch):
    pytest.importorskip("libtpu")
    config, folder = tiny_config(), tmp_path / "run"
    monkeypatch.setattr(planning, "recipe_of", lambda options: config)
    monkeypatch.setattr(planning, "_MOST", planning._FURTHER)
    flags = {"topology": "v5e:2x2", "workdir": str(folder), "data_dir": str(tmp_path)}
    with mock.patch.dict(os.environ):
        outcome = planning.plan(Options("plan", flags, {}))
        mapped = override(config, {"training.parallel": "shard_map"})
        other = planning.make_plan(mapped, slices.find_slice("v5e:2x2"), 3, brief=True)
    planned = json.loads((folder / "plan.json").read_text())
    assert outcome.text.endswith(f"written to {folder / 'plan.json'}")
    assert (planned["chips"], planned["hosts"], planned["classes"]) == (4, 1, 3)
    training, evaluation = planned["training"], planned["evaluation"]
    assert 0 < evaluation["memory"] < training["memory"] < 16 * 2**30
    assert training["flops"] > 2 * evaluation["flops"]
    assert 0 < planned["loss"]["flops"] < 1
    bound = max(training["seconds"].values())
    assert planned["examples_per_second"] == config.training.batch_size / bound
    assert planned["largest_batch"] == 4 * config.training.batch_size
    # Gradients are joined; features need not be, since the head is a sum.
    assert set(training["collectives"]) == {"all-reduce"}
    assert evaluation["collectives"] == {}
    assert other["training"]["collectives"] == training["collectives"]
