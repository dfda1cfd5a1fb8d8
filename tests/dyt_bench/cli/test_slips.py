"""What a newcomer mistypes: each is told in one sentence, with status 2, and writes nothing.

Those that import torch or MLflow first, which takes many seconds, are in test_cli.py.
"""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main

TASK = "tasks:\n- domain: vision\n"
# Files that the slips below name.
FILES = {
    "key.yaml": f"name: mine\nstep: 4\n{TASK}",
    "taskkey.yaml": f"name: mine\n{TASK}  model: vit\n",
    "domain.yaml": "name: mine\ntasks:\n- domain: visoin\n",
    "model.yaml": f"name: mine\n{TASK}  models: [vitt]\n",
    "dataset.yaml": f"name: mine\n{TASK}  datasets: [digitz]\n",
    "variant.yaml": f"name: mine\nvariants: [native, dty]\n{TASK}",
    "recipe.yaml": f"name: mine\nvariants: [native, {{name: dyt, recipe: papr}}]\n{TASK}",
    "seeds.yaml": f"name: mine\nseeds: three\n{TASK}",
    "steps.yaml": f"name: mine\nsteps: -5\n{TASK}",
    "tasks.yaml": "name: mine\ntasks: vision\n",
    "empty.yaml": "name: mine\n",
    "broken.yaml": "name: mine\n tasks: [\n",
    "version.yaml": f"version: 99\nname: mine\n{TASK}",
    "path.yaml": f"name: mine\n{TASK}  datasets: [folder]\n  path: nowhere\n",
    "nopath.yaml": f"name: mine\n{TASK}  datasets: [folder]\n",
    "text.txt": "hello\n",
    "table.csv": "text,mood\na,b\n",
    "folder/suite.yaml": f"name: mine\n{TASK}",
}
# What is typed after dyt-bench -> a part of the sentence.
SLIPS = {
    # commands and options
    "pln default": "`dyt-bench --help` tells what it takes; did you mean 'plan' or 'plugins'?",
    "data ftech": "no such command 'ftech'",
    "--vresion": "no such option '--vresion'",
    "plan default --seed 1": "no such option '--seed': `dyt-bench plan --help` tells",
    "plan default --step 5": "no such option '--step'",
    "run default --gpu": "no such option '--gpu'",
    "run default --resume": "no such option '--resume'",
    "data list --jsno": "no such option '--jsno'",
    "doctor --josn": "no such option '--josn'",
    "domains vision": "got unexpected extra argument (vision)",
    "plan default --domain": "option '--domain' requires an argument",
    # suites
    "run defualt": "did you mean 'default'?",
    "run folder": "folder is a folder: name the suite file in it, which ends in .yaml",
    "run text.txt": "a file of your own ends in .yaml",
    "run nowhere.yaml": "there is no suite file nowhere.yaml",
    "run key.yaml domain.yaml": "got unexpected extra argument (domain.yaml)",
    # names
    "plan default --domain visoin": "unknown domain 'visoin'",
    "plan default --models vitt": "unknown model 'vitt'",
    "plan default --variants dty": "unknown variant 'dty'",
    "check visoin": "'visoin'",
    "check vision --model vitt": "vitt",
    "check vision --dataset digitz": "digitz",
    "check nowhere:domain": "nowhere",
    # values
    "plan default --seeds=0": "0 is not in the range",
    "plan default --seeds three": "'three' is not a valid integer",
    "plan default --steps 0": "0 is not in the range",
    "plan default --budget soon": "expected a duration such as 90s, 30m, 2h or 1d, got 'soon'",
    "plan default --machine h1000x8": "there is no machine 'h1000x8'",
    "plan default --executor slrum": "slrum",
    "run default --jobs 0": "0 is not in the range",
    "run default --until forever": "'forever' is not 'decided'",
    "run default --run-memory lots": "expected a size such as 800MB or 8GiB, got 'lots'",
    "run default --checkpoint-every often": "expected a duration",
    "run default --workspace text.txt": "'text.txt' is a file",
    "run default --out text.txt": "'text.txt' is a file",
    # what is in a suite file
    "plan key.yaml": "key.yaml:2: step: unknown key 'step'",
    "plan taskkey.yaml": "tasks[0].model: unknown key 'model'",
    "plan domain.yaml": "did you mean 'vision'?",
    "plan model.yaml": "did you mean 'vit'?",
    "plan dataset.yaml": "did you mean 'digits'?",
    "plan variant.yaml": "did you mean 'dyt'?",
    "plan recipe.yaml": "did you mean 'paper'?",
    "plan seeds.yaml": "seeds.yaml:2: seeds: input should be a valid list, got 'three'",
    "plan steps.yaml": "steps.yaml:2: steps: input should be greater than or equal to 1, got -5",
    "plan tasks.yaml": "tasks.yaml:2: tasks: input should be a valid list, got 'vision'",
    "plan empty.yaml": "empty.yaml:1: tasks: field required",
    "plan broken.yaml": "broken.yaml:2: not valid YAML",
    "plan version.yaml": "version.yaml:1: version: unknown key 'version'",
    "plan path.yaml": "nowhere does not exist",
    "plan nopath.yaml": "give path",
    # before any run
    "report": "no suite called 'default' has run",
    "report mine": "no suite called 'mine' has run",
    "export": "no suite called 'default' has run",
    "export --table verdict": "'verdict' is not one of 'verdicts', 'runs', 'rows'",
    "compare a": "missing argument 'B'",
    "compare a b": "'a' is no folder with runs",
    "clean": "there is no workspace",
    "merge": "missing argument",
    "merge nowhere": "'nowhere' does not exist",
    "merge folder": "folder is no workspace",
    "sync": "no suite has run in",
    "ui": "there is no store",
    "ui --port abc": "'abc' is not a valid integer",
    "ui --port 99999": "99999 is not in the range",
    # data and models
    "data fetch": "missing argument",
    "data fetch nonsense": "unknown data set to fetch 'nonsense'",
    "convert": "missing argument",
    "convert ./nowhere": "nowhere",
    "finetune": "missing option '--model'",
    "finetune --model folder": "missing option '--data'",
    "finetune --model nowhere --data table.csv --label mood": "nowhere",
    "finetune --model folder --data table.csv": "folder",
    "new-domain Weather!": "Weather!",
    "new-domain vision": "vision",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files, where no suite has run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, text in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    return tmp_path


def contents(folder):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)


def test_there_are_forty():
    assert len(SLIPS) >= 40


@pytest.mark.parametrize("typed", SLIPS)
def test_a_slip_is_one_sentence_and_writes_nothing(typed, here):
    before = contents(here)
    result = CliRunner().invoke(main, typed.split())
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("dyt-bench: ")
    assert SLIPS[typed] in result.stderr
    assert result.stderr.count("\n") == 1
    assert "?" not in result.stderr.rstrip().removesuffix("?")  # a question ends the sentence
    assert contents(here) == before
