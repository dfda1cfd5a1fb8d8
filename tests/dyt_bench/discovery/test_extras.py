"""The plugin dyt_extras, one of each that a package may add, as a suite and its readers meet it."""

import json
import os
import subprocess
import sys

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError
from dyt_bench.plugin.task import Task
from dyt_bench.suite.expand import Selection, load_suite

SUITE = """
name: extras
variants: [native, dysymlog]
metrics: [generalization-gap]
sections: [seeds]
executor: niced
steps: 4
tasks:
- domain: llm
  datasets: [python-reference]
"""


@pytest.fixture
def load(extras, tmp_path):
    def loaded(text, **selection):
        (tmp_path / "suite.yaml").write_text(text)
        return load_suite(tmp_path / "suite.yaml", discover(), Selection(**selection))

    return loaded


def test_a_suite_names_all_of_them(load):
    suite = load(SUITE)
    native, symlog = suite.runs
    assert (suite.executor, suite.sections) == ("niced", ("seeds",))
    assert native.task == symlog.task
    assert [name for name, _ in native.task.metrics] == ["generalization-gap"]
    assert native.variant.code_digest == "" != symlog.variant.code_digest
    assert symlog.parameters()["metrics"] == "generalization-gap"
    assert load(SUITE, executor="local").executor == "local"


def test_a_metric_makes_another_run_of_the_same_task(load):
    measured = load(SUITE).runs[0]
    plain = load(SUITE.replace("metrics: [generalization-gap]", "")).runs[0]
    assert measured.identity != plain.identity
    assert measured.task.identity == plain.task.identity


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "dysymlog",
            "dysymlgo",
            r"yaml:3: variants\[1\]: unknown variant.*did you mean 'dysymlog'",
        ),
        ("-gap]", "-gpa]", r"yaml:4: metrics\[0\]: unknown metric.*'generalization-gap'\?"),
        ("-gap]", "-gap, generalization-gap]", r"metrics\[1\]: 'generalization-gap' is listed tw"),
        ("[seeds]", "[seed]", r"yaml:5: sections\[0\]: unknown section.*did you mean 'seeds'"),
        ("niced", "nicde", r"yaml:6: executor: unknown executor.*ray, slurm, niced; did you m"),
        ("python-ref", "pyhton-ref", r"unknown data set.*did you mean 'python-reference'"),
        ("llm", "vision", "data set 'python-reference' is for the domain 'llm', not for 'vision'"),
        ("steps: 4", "kind: efficiency", "an efficiency suite trains nothing: it takes no metrics"),
    ],
)
def test_a_mistake_is_said_when_the_suite_is_read(load, old, new, message):
    with pytest.raises(UserError, match=message):
        load(SUITE.replace(old, new))


def test_an_executor_of_the_command_line_is_checked_too(load):
    with pytest.raises(UserError, match=r"unknown executor 'nicde'.*did you mean 'niced'"):
        load(SUITE, executor="nicde")


def test_planning_with_them_imports_no_torch(extras, tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    script = """
import sys
from dyt_bench.cli import main
try:
    main(["plan", "suite.yaml"])
except SystemExit as end:
    assert not end.code
heavy = sorted({"torch", "lightning", "mlflow", "numpy", "matplotlib"} & set(sys.modules))
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=extras, check=True)


def test_the_norm_takes_a_norms_place_and_is_watched():
    import torch
    from torch import nn

    import dyt
    from dyt_extras.symlog import DySymlog

    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    x = torch.randn(32, 8)
    native = model(x)
    dyt.convert(model, DySymlog, alpha_init_value=0.8)
    z = 0.8 * model[0](x)
    torch.testing.assert_close(model[1](model[0](x)), z.sign() * torch.log1p(z.abs()))
    with dyt.probe(model, every=1) as seen:
        model(x).sum().backward()
    site = seen.sites["1"]
    assert (site.kind, site.alpha, site.saturation) == ("symlog", pytest.approx(0.8), 0.0)
    (fit,) = dyt.calibrate(model, [x], goal="start").fits
    assert fit.alpha * fit.input_rms == pytest.approx(0.5, rel=1e-3)
    torch.testing.assert_close(dyt.revert(model)(x), native)


def test_the_norm_is_timed_where_nothing_is_trained(extras, tiny):
    from dyt_bench.efficiency.measure import PARTS, measure
    from dyt_bench.plugin.task import Variant

    task = Task(
        domain="tiny",
        model="line",
        dataset="noise",
        steps=1,
        batch_size=8,
        learning_rate=1.0,
        val_every=1,
    )
    seconds = measure(task, [Variant(), Variant(name="dysymlog")], rounds=1)
    assert all(set(seconds[part]) == {"native", "dysymlog", "A/A"} for part in PARTS)


def niceness(tell):
    return os.nice(0)


def test_what_the_executor_runs_gives_way(tmp_path):
    from dyt_extras import Niced

    with Niced([]).run(niceness, tmp_path / "log") as running:
        *_, outcome = running
    assert outcome["value"] == min(os.nice(0) + 5, 19)


@pytest.mark.slow
def test_all_of_them_in_one_run(extras, tmp_path):
    """From the command line to MLflow and the report."""
    from mlflow import MlflowClient

    (tmp_path / "suite.yaml").write_text(SUITE)
    command = [sys.executable, "-m", "dyt_bench", "run", "suite.yaml", "--json"]
    run = subprocess.run(command, cwd=tmp_path, env=extras, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    client = MlflowClient(tracking_uri=summary["tracking_uri"])
    runs = client.search_runs([summary["experiment_id"]], "tags.kind = 'run'")
    assert {r.data.tags["variant"] for r in runs} == {"native", "dysymlog"}
    for r in runs:
        assert r.data.params["dataset"] == "python-reference"
        assert "measured.eval/generalization-gap" in r.data.tags
        assert float(r.data.tags["measured.model/norms_replaced"]) >= 0

    page = (tmp_path / ".dyt-bench" / "results" / "extras" / "README.md").read_text()
    assert "## Spread over seeds\n\n| model | variant | seeds | least loss | most |" in page
    assert "| generalization gap (loss) ↓ |" in page
    assert "0.7 MB of English: the Python language reference" in page
    picture = tmp_path / ".dyt-bench" / "results" / "extras" / "figures" / "seeds-1.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "![loss of every seed](figures/seeds-1.png)" in page
    html = (tmp_path / ".dyt-bench" / "results" / "extras" / "report.html").read_text()
    assert '<section id="added-seeds">' in html
    assert "<td>dysymlog</td>" in html
    assert 'var(--variant-0)"></i>dysymlog' in html
    again = (
        tmp_path / ".dyt-bench" / "results" / "extras" / "suites" / "llm-llama.yaml"
    ).read_text()
    assert "metrics: [generalization-gap]" in again
