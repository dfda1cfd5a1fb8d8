"""The main job on a reduced suite, as the README's first command runs it: five domains, real
data, processes of their own, MLflow, the report. Then again, and what goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.slow

REPORT = ".dyt-bench/results/reduced"
SUITE = """
name: reduced
steps: 4
tasks:
- {domain: vision, models: [convnext]}
- domain: diffusion
- domain: speech
- domain: dna
- domain: llm
"""


def dyt_bench(folder, *arguments, **options):
    command = [sys.executable, "-m", "dyt_bench", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Folder and output of one run of the reduced suite."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "suite.yaml").write_text(SUITE)
    return folder, dyt_bench(folder, "run", "suite.yaml", "--json")


def test_every_run_finishes(ran):
    _, run = ran
    assert run.returncode == 0, run.stderr
    runs = json.loads(run.stdout)["runs"]
    assert len(runs) == 10
    assert {run["status"] for run in runs} == {"finished"}


def test_mlflow_has_every_run_with_its_curves(ran):
    _, run = ran
    summary = json.loads(run.stdout)
    client = MlflowClient(tracking_uri=summary["tracking_uri"])
    runs = client.search_runs([summary["experiment_id"]], "tags.kind = 'run'")
    assert len(runs) == 10
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert {r.data.params["domain"] for r in runs} == {
        "vision",
        "diffusion",
        "speech",
        "dna",
        "llm",
    }
    for r in runs:
        steps = [p.step for p in client.get_metric_history(r.info.run_id, "train/loss")]
        assert steps == [1, 2, 3, 4]
        assert {"val/loss", "wall time/step_ms"} <= set(r.data.metrics)
        assert {"env.cpu", "env.torch", "digest.data", "measured.memory/peak_mib"} <= set(
            r.data.tags
        )
        swapped = r.data.tags["variant"] == "dyt"
        assert any(key.startswith("within/alpha ") for key in r.data.metrics) == swapped
        assert (float(r.data.tags["measured.model/norms_replaced"]) > 0) == swapped


def test_variants_of_a_task_start_alike_and_see_the_same(ran):
    folder, _ = ran
    rows = json.loads((folder / REPORT / "results.json").read_text())["runs"]
    for domain in {row["domain"] for row in rows}:
        pair = [row for row in rows if row["domain"] == domain]
        assert len({(row["digest/weights"], row["digest/batches"]) for row in pair}) == 1


def test_the_report_is_there(ran):
    folder, _ = ran
    page = (folder / REPORT / "README.md").read_text()
    for name in ("vision/convnext", "diffusion/dit", "speech/wav2vec2", "dna/hyena", "llm/llama"):
        assert f"| {name} |" in page
    for figure in ("summary.png", "curves.png"):
        assert (folder / REPORT / "figures" / figure).read_bytes().startswith(b"\x89PNG")
        assert f"figures/{figure}" in page


def test_running_again_runs_nothing_and_adds_nothing(ran):
    folder, first = ran
    again = dyt_bench(folder, "run", "suite.yaml", "--json")
    assert again.returncode == 0
    assert again.stderr.count("done before") == 10
    summary = json.loads(again.stdout)
    assert summary["runs"] == json.loads(first.stdout)["runs"]
    client = MlflowClient(tracking_uri=summary["tracking_uri"])
    assert len(client.search_runs([summary["experiment_id"]], "tags.kind = 'run'")) == 10


def test_report_can_be_written_anew_elsewhere(ran):
    folder, _ = ran
    run = dyt_bench(folder, "report", "reduced", "--out", "elsewhere", "--json")
    assert run.returncode == 0, run.stderr
    assert (folder / "elsewhere" / "README.md").exists()
    said = json.loads(run.stdout)
    assert said["report"] == "elsewhere/README.md"
    assert len(said["verdicts"]) == 5


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "pre-empted")],
)
def test_told_to_stop_it_keeps_a_checkpoint_and_says_so(tiny, tmp_path, number, status, word):
    (tmp_path / "suite.yaml").write_text(
        "name: s\nvariants: [dyt]\ntasks:\n- {domain: tiny, models: [slow]}\n"
    )
    command = [sys.executable, "-m", "dyt_bench", "run", "suite.yaml", "--steps", "100000"]
    command += ["--checkpoint-every", "1h"]  # but when it is told to stop
    # As a shell starts a background job: with SIGINT ignored.
    ignored = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    process = subprocess.Popen(
        [*ignored, *command],
        cwd=tmp_path,
        env=tiny,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    runs = tmp_path / ".dyt-bench" / "runs"
    while not any("train/loss" in rows.read_text() for rows in runs.glob("*/rows.jsonl")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.killpg(process.pid, number)  # the whole group, as a terminal and a scheduler do
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert f"{word} with 0 of 1 runs done; the same command continues" in said
    (record,) = runs.iterdir()
    assert (record / "checkpoint").exists()
    assert not (record / "result.json").exists()
    assert not (tmp_path / ".dyt-bench" / "results").exists()


def test_a_failing_run_is_reported_and_the_rest_goes_on(tmp_path):
    """A folder with a picture that is none fails in the worker, not at the plan."""
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(40):
            (tmp_path / "images" / label / f"{number}.png").write_bytes(b"no picture")
    (tmp_path / "suite.yaml").write_text(
        "name: s\nvariants: [native]\nsteps: 2\ntasks:\n"
        "- {domain: vision, models: [convnext], datasets: [folder], path: images}\n"
        "- {domain: vision, models: [convnext]}\n"
    )
    run = dyt_bench(tmp_path, "run", "suite.yaml", "--json")
    assert run.returncode == 1
    failed, finished = json.loads(run.stdout)["runs"]
    assert (failed["status"], finished["status"]) == ("failed", "finished")
    assert "images/a/0.png cannot be read as an image" in failed["reason"]
    assert "log.txt" in failed["reason"]
