"""Who may know whom: the rules of the layers, read from the imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tcmax_jax.evaluation.quantities import QUANTITIES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tcmax_jax"


def imports_of(path):
    """Returns the dotted names that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules_after_importing(name):
    """Returns the names of all modules that a new process then holds."""
    code = f"import sys, {name}; print(*sorted(sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()


def files(layer):
    return sorted((PACKAGE / layer).rglob("*.py"))


@pytest.mark.parametrize(
    ("layer", "allowed"),
    [
        ("losses", ["losses"]),
        ("estimators", ["estimators", "losses", "npz"]),
        ("methods", ["methods", "losses", "models", "section"]),
        ("models", ["models", "losses", "npz", "section", "series"]),
        (
            "data",
            [
                "data",
                "cores",
                "digests",
                "space",
                "files",
                "npz",
                "packages",
                "section",
                "series",
                "user_text",
            ],
        ),
        (
            "evaluation",
            [
                "evaluation",
                "losses",
                "estimators",
                "models",
                "methods",
                "npz",
                "digests",
                "files",
                "upgrade",
                "run_folder",
                "series",
                "user_text",
            ],
        ),
        (
            "training",
            [
                "training",
                "cores",
                "losses",
                "models",
                "methods",
                "data",
                "evaluation",
                "step_bound",
                "digests",
                "space",
                "files",
                "packages",
                "run_folder",
                "section",
                "series",
                "upgrade",
                "user_text",
            ],
        ),
        (
            "commands",
            [
                "commands",
                "cores",
                "training",
                "evaluation",
                "estimators",
                "data",
                "models",
                "run_folder",
                "section",
                "digests",
                "space",
                "files",
                "series",
                "packages",
                "user_text",
            ],
        ),
    ],
)
def test_layers_know_only_what_lies_below(layer, allowed):
    for path in files(layer):
        own = {n.split(".")[1] for n in imports_of(path) if n.startswith("tcmax_jax.")}
        assert own <= set(allowed), path


def test_losses_need_jax_alone():
    third_party = {n.split(".")[0] for path in files("losses") for n in imports_of(path)}
    assert third_party - set(sys.stdlib_module_names) <= {"jax", "numpy", "tcmax_jax"}


def test_estimators_need_flax_and_optax():
    third_party = {n.split(".")[0] for path in files("estimators") for n in imports_of(path)}
    light = {"jax", "numpy", "flax", "optax", "tcmax_jax"}
    assert third_party - set(sys.stdlib_module_names) <= light


def test_importing_the_estimators_imports_neither_pydantic_nor_matplotlib():
    modules = modules_after_importing("tcmax_jax.estimators")
    assert "tcmax_jax.estimators.report" in modules
    assert not {"pydantic", "matplotlib", "grain", "orbax", "tensorboardX"} & set(modules)


def test_importing_the_losses_imports_no_data_stack():
    modules = modules_after_importing("tcmax_jax.losses")
    heavy = {"tensorflow_datasets", "grain", "orbax", "flax", "tensorflow", "torch", "av", "cv2"}
    assert "jax" in modules
    assert not heavy & set(modules)


def test_the_bound_on_steps_needs_optax_alone():
    modules = modules_after_importing("tcmax_jax.step_bound")
    assert [m for m in modules if m.startswith("tcmax_jax")] == [
        "tcmax_jax",
        "tcmax_jax.step_bound",
    ]
    assert not {"pydantic", "flax", "grain", "orbax"} & set(modules)


def test_only_one_file_maps_over_devices():
    users = [p.name for p in PACKAGE.rglob("*.py") if "jax.pmap" in p.read_text()]
    assert users == ["parallel.py"]


@pytest.mark.parametrize(
    "name", ["cores", "files", "section", "space", "upgrade", "run_folder", "user_text"]
)
def test_what_everything_stands_on_needs_the_standard_library_alone(name):
    used = set(imports_of(PACKAGE / f"{name}.py")) - {
        "tcmax_jax.files.local",
        "tcmax_jax.space.named",
    }
    assert {each.split(".")[0] for each in used} <= set(sys.stdlib_module_names)


def test_only_one_file_reads_configurations_with_pydantic():
    users = {p.name for p in PACKAGE.rglob("*.py") if any("pydantic" in n for n in imports_of(p))}
    assert users == {"tree.py"}


def test_methods_and_models_import_no_data_stack():
    modules = modules_after_importing("tcmax_jax.methods, tcmax_jax.models")
    assert not {"pydantic", "grain", "tensorflow_datasets", "cv2"} & set(modules)


def test_only_the_launch_script_reads_flags():
    defining = [p.name for p in PACKAGE.rglob("*.py") if "flags.DEFINE" in p.read_text()]
    assert defining == ["launch.py"]


def test_the_table_of_quantities_is_plain_data():
    names = imports_of(PACKAGE / "evaluation" / "quantities.py")
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_only_the_table_of_quantities_spells_titles_and_units():
    spelled = [own.title for own in QUANTITIES if "{}" not in own.title]
    spelled += [f"({own.unit})" for own in QUANTITIES if own.unit]
    for layer in ("evaluation", "training", "commands"):
        for path in files(layer):
            tree = ast.parse(path.read_text())
            texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
            titles = texts & set(spelled)
            assert not titles or path.name == "quantities.py", (path, titles)


def test_results_as_text_read_result_files_only():
    modules = modules_after_importing("tcmax_jax.evaluation.text")
    assert not {"jax", "flax", "pydantic", "grain"} & set(modules)


def test_reports_read_result_files_only():
    # What a run says is in its folder; a page about it needs none of what made it.
    own = {
        name
        for path in files("evaluation/reports")
        for name in imports_of(path)
        if name.startswith("tcmax_jax.")
    }
    own = {name for name in own if ".reports" not in name} - {"tcmax_jax.digests"}
    assert {name.rpartition(".")[0] for name in own} == {
        "tcmax_jax.evaluation.comparison",
        "tcmax_jax.evaluation.outputs",
        "tcmax_jax.evaluation.quantities",
        "tcmax_jax.evaluation.text",
        "tcmax_jax.evaluation.tables",
        "tcmax_jax.files",
        "tcmax_jax.run_folder",
        "tcmax_jax.upgrade",
        "tcmax_jax.user_text",
    }


def test_importing_reports_imports_no_jax():
    modules = modules_after_importing("tcmax_jax.evaluation.reports.report")
    assert "matplotlib" in modules
    assert not {"jax", "flax", "pydantic", "grain", "matplotlib.pyplot"} & set(modules)


def test_the_configuration_and_studies_need_no_matplotlib():
    names = "tcmax_jax.training.config, tcmax_jax.evaluation.reports.studies"
    assert "matplotlib" not in modules_after_importing(names)


def test_importing_everything_uses_no_device():
    # jax.distributed.initialize has to come before the first use.
    code = (
        "import sys, jax\n"
        "import tcmax_jax.launch, tcmax_jax.commands.compare, tcmax_jax.evaluation.comparison\n"
        "jax.config.update('jax_platforms', 'none such')\n"
        "try:\n"
        "    jax.devices()\n"
        "except RuntimeError:\n"
        "    print('not used before')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "not used before\n", result.stderr


def test_the_walks_name_files_and_what_is_in_them():
    steps = re.findall(
        r"^\d+\. `([\w/]+\.py)` `(\w+)`: ", (ROOT / "docs" / "architecture.md").read_text(), re.M
    )
    assert len(steps) == 20
    for path, name in steps:
        defined = {getattr(n, "name", None) for n in ast.parse((PACKAGE / path).read_text()).body}
        assert name in defined, (path, name)
