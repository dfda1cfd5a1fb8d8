"""A run's identity follows every edit that may change a number, and no other."""

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.plugin import code
from dyt_bench.plugin.code import code_digest, covered
from dyt_bench.plugin.domain import Model, TrainingPreset
from dyt_bench.plugin.task import Run, Task
from dyt_bench.suite.expand import load_suite, preset_digest


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Copies of dyt, dyt_bench and dyt_vision, found in place of the installed ones."""
    for name in ("dyt", "dyt_bench", "dyt_vision"):
        folder = Path(find_spec(name).submodule_search_locations[0])
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.delitem(
            sys.modules, name, raising=False
        )  # or its spec would be asked where it is
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def edited(file, old, new):
    """The digest once the one ``old`` in the file is ``new``."""
    text = file.read_text()
    assert text.count(old) >= 1, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new, 1))
    return code_digest("dyt_vision")


NO_OTHER = {
    "a comment": ("dyt_bench/training/trainer.py", "WARMUP_STEPS = 5", "WARMUP_STEPS = 5  # five"),
    "a docstring": ("dyt_bench/training/trainer.py", '"""Times steps', '"""Measures steps'),
    "white space": (
        "dyt_vision/module.py",
        "units_per_sample = 1",
        "units_per_sample = (\n    1\n)",
    ),
    "an exception's text": ("dyt_bench/training/checkpoint.py", "it was told to stop", "stopped"),
    "a message": ("dyt_bench/training/checkpoint.py", 'print(f"no checkpoint:', 'print(f"none:'),
    "a Triton kernel": ("dyt/_kernels/triton/device.py", "\nimport ", "\nimport math\nimport "),
    "the report": ("dyt_bench/report/write.py", "records", "recorded"),
    "the command line": ("dyt_bench/cli/suites.py", "import click", "import click, sys"),
    "MLflow": ("dyt_bench/tracking/view.py", '{"lineSmoothness": 40}', '{"lineSmoothness": 4}'),
    "the record's format": ("dyt_bench/records/record.py", "rows.jsonl", "lines.jsonl"),
    "scheduling": ("dyt_bench/scheduling/runner.py", "TIMING_ROUNDS = 11", "TIMING_ROUNDS = 12"),
    "statistics": ("dyt_bench/verdicts/statistics.py", "CONFIDENCE = 0.95", "CONFIDENCE = 0.9"),
    "another model's budget": ("dyt_vision/catalog.py", "300 * (1_281_167", "200 * (1_281_167"),
    "a model's summary": ("dyt_vision/catalog.py", "twice the width", "double width"),
    "a type-checking import": (
        "dyt_bench/plugin/domain.py",
        "if TYPE_CHECKING:",
        "if TYPE_CHECKING:\n    import mlflow",
    ),
}
ANOTHER = {
    "the optimiser": ("dyt_bench/plugin/optim.py", "betas=training.betas", "betas=(0.5, 0.5)"),
    "the loader's order": ("dyt_bench/plugin/data.py", "[self.seed, epoch]", "[self.seed]"),
    "a forward": ("dyt_vision/module.py", "self.model(images)", "self.model(-images)"),
    "a model's shape": ("dyt_vision/models.py", "num_heads=4", "num_heads=2"),
    "the function of a layer": ("dyt/functions.py", "torch.tanh(z).square()", "torch.tanh(z)"),
    "what a row is called": ("dyt_vision/module.py", '"val/acc"', '"val/accuracy"'),
    "the trainer": ("dyt_bench/training/trainer.py", "deterministic=True", "deterministic=False"),
    "a module reached by a lazy import": ("dyt_bench/training/step.py", "AA)", "AA, AA)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", NO_OTHER)
def test_an_edit_that_changes_no_number_leaves_the_digest(sources, what):
    file, old, new = NO_OTHER[what]
    assert code_digest("dyt_vision") == edited(sources / file, old, new)


@pytest.mark.parametrize("what", ANOTHER)
def test_an_edit_that_may_change_a_number_changes_the_digest(sources, what):
    file, old, new = ANOTHER[what]
    assert code_digest("dyt_vision") != edited(sources / file, old, new)


def test_cpp_counts_without_comments_and_white_space(sources):
    before = code_digest("dyt_vision")
    source = next(iter(sorted((sources / "dyt/_kernels/cpu").glob("*.cpp"))))
    text = source.read_text()
    source.write_text(f"// a word\n/* two\nwords */\n{text}\n\n".replace("\n    ", "\n\n\t"))
    assert code_digest("dyt_vision") == before
    source.write_text(text + "\nint one;\n")
    assert code_digest("dyt_vision") != before


def test_the_empty_texts_that_one_parser_puts_into_f_strings_do_not_count():
    def f_string(*texts: str) -> ast.AST:
        name = ast.FormattedValue(ast.Name("x", ast.Load()), -1)
        return ast.JoinedStr([*(ast.Constant(text) for text in texts), name])

    assert code._canonical(f_string("")) == code._canonical(f_string())
    assert code._canonical(f_string("a")) != code._canonical(f_string())


def test_with_a_gpu_its_kernels_count_as_well(sources, monkeypatch):
    monkeypatch.setattr(code, "_has_gpu", lambda: True)
    before = code_digest("dyt_vision")
    file = sources / "dyt/_kernels/triton/device.py"
    file.write_text(f"{file.read_text()}\nONE = 1\n")
    assert code_digest("dyt_vision") != before


def test_versions_of_a_domains_requirements_count(monkeypatch):
    versions = {"timm": "1.0"}
    monkeypatch.setattr(code, "version", lambda name: versions.get(name, "1"))
    before = code_digest("dyt_vision", ["timm>=1.0.20"])
    versions["timm"] = "1.1"
    assert code_digest("dyt_vision", ["timm>=1.0.20"]) != before
    assert code_digest("dyt_vision", []) == code_digest("dyt_vision", [])


def test_a_plugins_own_modules_count_wherever_they_lie(tmp_path, monkeypatch):
    (tmp_path / "weather").mkdir()
    (tmp_path / "weather/__init__.py").write_text("def build():\n    from weather import model\n")
    (tmp_path / "weather/model.py").write_text("import winds\n")
    (tmp_path / "winds.py").write_text("SPEED = 1\n")  # loose, of no package
    monkeypatch.syspath_prepend(tmp_path)
    assert {"weather", "weather.model", "winds"} <= set(covered("weather"))
    before = code_digest("weather")
    (tmp_path / "winds.py").write_text("SPEED = 2\n")
    assert code_digest("weather") != before


def test_what_lies_beside_a_module_of_no_package_does_not_count(tmp_path, monkeypatch):
    (tmp_path / "winds.py").write_text("SPEED = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_digest("winds")
    (tmp_path / "results.json").write_text("{}")  # as a run in this folder writes
    assert code_digest("winds") == before


def test_two_domains_differ_and_a_digest_repeats():
    found = discover()
    assert found.code_digest("vision") != found.code_digest("llm")
    assert found.code_digest("vision") == discover().code_digest("vision")


SUITE = "name: s\nvariants: [native]\ntasks:\n- {domain: vision, models: [vit]}\n"


def test_what_a_task_takes_from_the_catalogue_is_in_its_identity(tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text(SUITE)

    def identity():
        (run,) = load_suite(tmp_path / "s.yaml", discover()).runs
        assert isinstance(run, Run)
        return run.identity

    before = identity()
    vision = discover().domain("vision")
    wordy = TrainingPreset(summary="in other words", source="elsewhere", weight_decay=0.05)
    monkeypatch.setitem(vision.trainings, "default", wordy)
    assert identity() == before
    heavier = TrainingPreset(summary="in other words", source="elsewhere", weight_decay=0.5)
    monkeypatch.setitem(vision.trainings, "default", heavier)
    assert identity() != before


def test_a_field_that_a_domain_adds_to_its_models_counts():
    @dataclass(frozen=True, kw_only=True)
    class Sized(Model):
        width: int

    vision = discover().domain("vision")
    fields = dict(vars(vision.models["vit"]))
    task = Task(
        domain="vision",
        model="vit",
        dataset="digits",
        steps=1,
        batch_size=1,
        learning_rate=1.0,
        val_every=1,
    )

    def digest(**changes):
        models = {"vit": Sized(**{**fields, "width": 1, **changes})}
        return preset_digest(SimpleNamespace(models=models, training=vision.training), task)

    assert digest() == digest(summary="in other words", step_s=1.0)
    assert digest() != digest(width=2)
    assert digest() != digest(exclude=("head.*",))


LOADED = """
import sys
from pathlib import Path
from dyt_bench.plugin.parts import Parts
from dyt_bench.plugin.task import Task
from {package} import domain
from dyt_bench.training.run import train
from dyt import DynamicTanh

class Nowhere:
    appended = 0
    checkpoint_path = weights_path = artifacts = Path({folder!r}) / "x"
    def append(self, step, metrics): pass
    def flush(self): pass
    def resume(self, appended): return True
    def rows(self): return []

name, model = next(iter(domain.models.items()))
task = Task(domain=domain.name, model=name, dataset=next(iter(domain.datasets)), steps=1,
            batch_size=2, learning_rate=1e-3, val_every=1)
parts = Parts(domain=domain, task=task, layer=DynamicTanh)
train(parts, Nowhere(), lambda event: None, evaluate=False, trainer={{"limit_val_batches": 1}})
print("\\n".join(sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["dyt_vision", "dyt_dna", "dyt_tiny"])
def test_all_that_training_imports_is_covered(package, tmp_path):
    script = LOADED.format(package=package, folder=str(tmp_path))
    env = {"PYTHONPATH": str(Path(__file__).parents[2] / "plugins"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )
    assert ran.returncode == 0, ran.stderr
    ours = ("dyt", "dyt_bench", package)
    loaded = {name for name in ran.stdout.split() if name.split(".")[0] in ours}
    sys.path.insert(0, env["PYTHONPATH"])
    try:
        assert loaded <= set(covered(package)), loaded - set(covered(package))
    finally:
        sys.path.remove(env["PYTHONPATH"])


@pytest.fixture
def weather(tmp_path, monkeypatch):
    """A plug-in whose modules are written by name -> text; returns how."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(files):
        for name, text in files.items():
            file = tmp_path / "weather" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return code_digest("weather")

    return write


BUILD = "def build():\n    from weather.data import waves\n"
OTHER_FILES = {
    "a folder without __init__.py": ({"data/waves.py": "A = 1"}, {"data/waves.py": "A = 2"}),
    "a JSON beside a module": ({"shape.json": "[6]"}, {"shape.json": "[12]"}),
    "CUDA beside a module": ({"scan.cu": "int a;"}, {"scan.cu": "int b;"}),
    "an import by its literal name": (
        {"zoo.py": "WIDTH = 1", "more.py": ""},
        {"zoo.py": "WIDTH = 2"},
    ),
    "what a printed sentence computes": (
        {"step.py": "print(f'done {advance(1)}')"},
        {"step.py": "print(f'done {advance(2)}')"},
    ),
}


@pytest.mark.parametrize("what", OTHER_FILES)
def test_code_in_unusual_places_counts(weather, what):
    first, second = OTHER_FILES[what]
    lines = [
        BUILD,
        "import importlib",
        'importlib.import_module("weather.zoo")',
        "import weather.step",
    ]
    before = weather({"__init__.py": "\n".join(lines), **first})
    assert weather(second) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return DataError(f'{file} is no image')", "return DataError(f'{file} is none')"),
        ("print(f'{n} files')", "print(f'there are {n}')"),
        ("Metric(name='a', margin=0.1, title='A')", "Metric(name='a', margin=0.2, title='B')"),
        ("log.warning('%s is slow', name)", "log.warning('%s takes long', name)"),
    ],
)
def test_words_in_unusual_places_do_not(weather, old, new):
    before = weather({"__init__.py": f"def f(file, n, name):\n    {old}\n"})
    assert weather({"__init__.py": f"def f(file, n, name):\n    {new}\n"}) == before


def test_the_backend_that_the_environment_chooses_counts(monkeypatch):
    before = code_digest("dyt_vision")
    monkeypatch.setenv("DYT_BACKEND", "eager")
    assert code_digest("dyt_vision") != before
