"""Weights kept at a run's end: loaded again they validate to the very numbers of the record."""

import subprocess
import sys

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.errors import UserError
from dyt_bench.plugin.atomic import read_json, write_json
from dyt_bench.plugin.task import Run, Task, Variant, run_of
from dyt_bench.records.record import Record
from dyt_bench.records.weights import load_weights
from dyt_bench.training.build import build
from dyt_bench.training.trainer import make_trainer

pytestmark = pytest.mark.slow

SUITE = """
name: kept
variants: [native, {name: dyt, recipe: calibrated}]
steps: 12
tasks:
- {domain: tiny, models: [line], training: ema}
"""


@pytest.fixture(scope="module")
def kept(tiny, tmp_path_factory):
    """The folder of a suite that ran with --keep-weights, and the run."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "suite.yaml").write_text(SUITE)
    command = [sys.executable, "-m", "dyt_bench", "run", "suite.yaml", "--keep-weights"]
    run = subprocess.run(command, cwd=folder, env=tiny, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder, run


def records(folder):
    return [Record(path) for path in sorted((folder / ".dyt-bench" / "runs").iterdir())]


def test_loaded_again_they_validate_to_the_same_bits(kept):
    folder, _ = kept
    assert len(records(folder)) == 2
    for record in records(folder):
        module = load_weights(record.folder)
        run = run_of(record.about()["parameters"])
        domain = discover().domain("tiny")
        data, _, _ = build(resolve(run))
        trainer = make_trainer(run.task, domain.training(run.task), False, [])
        (found,) = trainer.validate(module, datamodule=data, verbose=False)
        assert found["val/loss"] == record.result().last["val/loss"]


def test_mlflow_has_them_as_logged_models_with_their_metrics(tiny, kept):
    from mlflow import MlflowClient

    folder, _ = kept
    client = MlflowClient(f"sqlite:///{folder / '.dyt-bench' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dyt-bench/kept")
    subprocess.run([sys.executable, "-m", "dyt_bench", "sync"], cwd=folder, env=tiny, check=True)
    models = client.search_logged_models([experiment.experiment_id])
    assert len(models) == 2
    for model in models:
        assert model.status == "READY"
        run = client.get_run(model.source_run_id)
        (metric,) = [m for m in model.metrics if m.key == "last/val/loss"]
        assert metric.value == run.data.metrics["val/loss"]
        names = [file.path for file in client.list_logged_model_artifacts(model.model_id)]
        assert names == ["MLmodel", "data"]
        line = f'`mlflow.pytorch.load_model("models:/{model.model_id}")`'
        assert line in run.data.tags["mlflow.note.content"]


# As the documentation has it.
LOAD = """
import mlflow

mlflow.set_tracking_uri("sqlite:///.dyt-bench/mlflow.db")
(run,) = mlflow.search_runs(
    experiment_names=["dyt-bench/kept"],
    filter_string="tags.kind = 'run' and tags.variant = 'dyt calibrated'",
    output_format="list",
)
model = run.data.tags["dyt_bench.model"]
module = mlflow.pytorch.load_model(f"models:/{model}")  # a LightningModule, in evaluation mode
"""
# What comes back is the run's module, and so it is by the other name that MLflow gives it.
VALIDATE = """
import sys, torch
from pathlib import Path
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.task import run_of
from dyt_bench.records.record import Record
from dyt_bench.training.build import build
from dyt_bench.training.trainer import make_trainer

assert not module.training
by_run = f"runs:/{run.info.run_id}/{mlflow.get_logged_model(model).name}"
for name, value in mlflow.pytorch.load_model(by_run).state_dict().items():
    assert torch.equal(module.state_dict()[name], value)
own = run_of(Record(Path(sys.argv[1])).about()["parameters"])
data, _, _ = build(resolve(own))
trainer = make_trainer(own.task, discover().domain("tiny").training(own.task), False, [])
print(repr(trainer.validate(module, datamodule=data, verbose=False)[0]["val/loss"]))
"""


def test_mlflow_loads_them_where_the_domain_is_installed(tiny, kept):
    folder, _ = kept
    (record,) = (
        each
        for each in records(folder)
        if each.about()["parameters"]["variant"] == "dyt calibrated"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD + VALIDATE, str(record.folder)],
        cwd=folder,
        env=tiny,
        capture_output=True,
        text=True,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert float(loaded.stdout.splitlines()[-1]) == record.result().last["val/loss"]


def test_the_run_says_where_they_are(kept):
    _, run = kept
    assert "weights.pt in each folder of" in " ".join(run.stderr.split())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "run.json").unlink(), "no run's folder"),
        (lambda folder: (folder / "weights.pt").unlink(), "--keep-weights"),
        (lambda folder: age(folder / "run.json"), "another version of the code"),
    ],
)
def test_a_mistake_is_one_sentence(spoil, message, kept, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(records(kept[0])[0].folder, copy)
    spoil(copy)
    with pytest.raises(UserError, match=message):
        load_weights(copy)


def age(path):
    about = read_json(path)
    about["parameters"]["code_digest"] = "0" * 12
    write_json(path, about)


def test_a_run_is_known_by_its_parameters(tmp_path):
    task = Task(
        domain="d",
        model="m",
        dataset="x",
        path=tmp_path,
        seed=3,
        steps=10,
        batch_size=4,
        learning_rate=1e-3,
        val_every=5,
    )
    for variant in (Variant(), Variant(name="dyt", alpha_init_value=0.8, recipe="paper")):
        run = Run(task=task, variant=variant)
        assert run_of(run.parameters()) == run
