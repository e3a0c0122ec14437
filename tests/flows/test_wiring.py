"""What ties the project together: prefect.yaml, the registry, the floors."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from flows.registry import BENCHES, FLOWS, find_bench, find_flow, load
from models.config import Config
from models.errors import UnknownNameError
from models.settings import ROOT, Settings

DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())


def test_every_flow_of_the_registry_has_a_deployment_and_every_deployment_a_flow():
    entrypoints = {entry["entrypoint"] for entry in DEPLOYMENTS["deployments"]}
    assert entrypoints == {entry.flow.replace(":", ".") for entry in FLOWS}


@pytest.mark.parametrize("deployment", DEPLOYMENTS["deployments"], ids=lambda d: d["name"])
def test_an_entrypoint_loads_and_its_parameters_fit_its_schema(deployment: dict[str, Any]):
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools.validation import validate

    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    schema = parameter_schema(flow).model_dump_for_openapi()
    validate(deployment.get("parameters", {}), schema, raise_on_error=True)
    # The deployment form shows a sentence beside each field.
    fields = [
        field
        for definition in schema["definitions"].values()
        for field in definition["properties"].values()
    ]
    assert fields
    assert all("description" in field or "$ref" in str(field) for field in fields)


def test_deployments_name_modules_and_pull_nothing():
    # A file entrypoint would record this checkout's path, or break without a pull step.
    assert DEPLOYMENTS["pull"] == []
    for deployment in DEPLOYMENTS["deployments"]:
        assert ".py" not in deployment["entrypoint"]
        assert deployment["work_pool"]["name"] == Settings().work_pool
        assert all(schedule["slug"] for schedule in deployment["schedules"])


@pytest.mark.parametrize("entry", FLOWS, ids=lambda entry: entry.name)
def test_a_registered_flow_takes_its_config_and_can_be_previewed(entry: Any):
    kind = load(entry.config)
    assert issubclass(kind, Config)
    kind()  # embedded defaults are enough
    flow = load(entry.flow)
    assert flow.name == entry.name
    assert list(inspect.signature(flow.fn).parameters) == ["config"]
    assert load(entry.flow.partition(":")[0] + ":preview")(kind())


@pytest.mark.parametrize("entry", BENCHES, ids=lambda entry: entry.room)
def test_a_registered_benchmark_takes_data_seed_and_a_listener(entry: Any):
    found = list(inspect.signature(load(entry.run)).parameters)
    if entry.config:
        kind = load(entry.config)
        assert issubclass(kind, Config)
        kind()  # defaults are enough
    assert found == ["data", "seed", "tell", *(["config"] if entry.config else [])]


def test_flow_names_accept_dashes_and_underscores():
    assert find_flow("plan_upgrades") is find_flow("plan-upgrades")


def test_unknown_names_list_what_exists():
    with pytest.raises(UnknownNameError, match="did you mean 'plan-upgrades'"):
        find_flow("plan-upgrade")
    with pytest.raises(
        UnknownNameError,
        match="known: agents, all, detection, inference, kernels, platform, sharding, soak, "
        "upgrades",
    ):
        find_bench("weather")


def test_the_data_folder_does_not_hide_the_datasets_library():
    probe = "import datasets, transformers; print(datasets.Dataset.__module__)"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "datasets.arrow_dataset", done.stderr


@pytest.mark.parametrize("module", ["models.upgrades", "models.contracts", "models.services"])
def test_models_import_without_prefect_mlflow_or_dask(module: str):
    probe = (
        f"import sys, {module}; "
        "print([m for m in ('prefect', 'mlflow', 'dask', 'distributed') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_violation_of_the_floors_is_caught(tmp_path: Any):
    """The contracts are checks that can fail: plant one of each kind in a copy."""
    import shutil

    for name in ("flows", "tasks", "models"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "models" / "planted.py").write_text("import prefect\nimport tasks.collect\n")
    (tmp_path / "models" / "kernels.py").write_text("import models.upgrades.history\n")
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; "
        "lint_imports_command()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    for broken in (
        "models.planted -> tasks.collect",
        "models.planted -> prefect",
        "models.kernels -> models.upgrades.history",
    ):
        assert broken in done.stdout, done.stdout


def test_a_flow_imported_on_its_own_keeps_its_results_in_our_home(loom_home: Any):
    # Prefect once was imported before its environment was set, and wrote to the user's home.
    probe = (
        "import flows.plan_upgrades; from prefect.settings import get_current_settings as now; "
        "print(now().home, now().results.local_storage_path)"
    )
    user = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=ROOT,
        env=user,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(loom_home / "prefect"), str(loom_home / "results")]
