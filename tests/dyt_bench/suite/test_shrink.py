"""`--shrink`: what becomes of a suite, how it is told, and that the two are told apart."""

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError
from dyt_bench.suite import expand
from dyt_bench.suite.expand import Selection, load_suite, without_data
from dyt_bench.suite.shipped import shipped

PAPERS = [name for name in shipped() if name.startswith("paper/")]


@pytest.fixture(scope="module")
def found():
    return discover()


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """One with four devices, whatever it has."""
    monkeypatch.setattr(expand, "devices_here", lambda: 4)


def shrunk(path, found, **selection):
    return load_suite(path, found, Selection(shrink=True, **selection))


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_suite_needs_neither_its_data_nor_its_time(found, name):
    whole = load_suite(shipped()[name], found, contents=without_data)
    small = shrunk(shipped()[name], found)
    assert {task.domain for task in small.tasks} == {task.domain for task in whole.tasks}
    for task in small.tasks:
        assert task.steps == 4 or small.kind == "efficiency"
        assert (task.seed, task.path) == (0, None)
        assert task.batch_size <= 8
    # What a suite chooses stays.
    for of_task in ("strategy", "learning_rate"):
        chosen = {getattr(task, of_task) for task in whole.tasks}
        assert {getattr(task, of_task) for task in small.tasks} == chosen
    labels = {run.variant.label for run in whole.runs}
    assert {run.variant.label for run in small.runs} == labels
    if small.kind == "training":
        assert {task.devices for task in small.tasks} == {2}
        assert {task.batch_size // task.devices // task.at_once for task in small.tasks} <= {1, 2}


@pytest.mark.parametrize("name", PAPERS)
def test_it_is_never_taken_for_the_suite(found, name):
    whole = load_suite(shipped()[name], found, contents=without_data)
    small = shrunk(shipped()[name], found)
    assert small.name == f"{whole.name}-shrunk"  # of its report and of its experiment
    assert small.title.endswith("shrunk: a trial, no result")
    assert not small.expected
    parameters = [
        [(run.task.model, run.task.steps, run.task.batch_size) for run in each.runs]
        for each in (whole, small)
    ]
    assert not set(parameters[0]) & set(parameters[1])


def test_what_is_made_smaller_is_told():
    ended = CliRunner().invoke(main, ["plan", "paper/diffusion", "--shrink"])
    assert ended.exit_code == 0, ended.output
    assert ended.stderr.splitlines()[0] == (
        "shrunk: diffusion: dit for dit-b4, digits for imagenet, preset dit-shrunk for dit, "
        "4 of 400,000 steps, 4 of 256 samples a step, 2 of 8 devices, 2 of 32 samples at once"
    )
    assert "shrunk: what papers report is left out" in ended.stderr


@pytest.mark.parametrize(
    ("executor", "division"), [("local", (2, 1, 8)), ("{name: slurm, nodes: 4}", (1, 4, 16))]
)
def test_nodes_stay_where_an_executor_gives_them(found, write, executor, division):
    path = write(
        f"executor: {executor}\ntasks: [{{domain: llm, batch_size: 64, devices: 4, nodes: 4, "
        "micro_batch: 2}]\n"
    )
    (task,) = shrunk(path, found).tasks
    assert (task.devices, task.nodes, task.batch_size) == division


def test_without_a_second_device_there_is_one(found, monkeypatch):
    monkeypatch.setattr(expand, "devices_here", lambda: 1)
    small = shrunk(shipped()["paper/vision"], found)
    assert {(task.devices, task.batch_size) for task in small.tasks} == {(1, 4)}


@pytest.fixture
def write(tmp_path):
    def written(text):
        (tmp_path / "s.yaml").write_text(f"name: s\n{text}")
        return tmp_path / "s.yaml"

    return written


def test_what_differs_by_its_size_alone_is_one(found, write):
    path = write("tasks:\n- {domain: dna, steps: 100}\n- {domain: dna, steps: 400}\n")
    assert len(load_suite(path, found).runs) == 4
    assert len(shrunk(path, found).runs) == 2


def test_seeds_and_steps_of_the_command_line_go_first(found, write):
    small = shrunk(write("seeds: [3, 4]\ntasks: [{domain: dna}]\n"), found, seeds=2, steps=6)
    assert [(task.seed, task.steps) for task in small.tasks] == [(0, 6), (1, 6)]


def test_a_small_suite_of_ones_own_keeps_its_data(found, write, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no more than this\n" * 1000)
    path = write("tasks: [{domain: llm, datasets: [folder], path: texts, batch_size: 2}]\n")
    (task,) = shrunk(path, found).tasks
    assert (task.dataset, task.path, task.batch_size) == ("folder", tmp_path / "texts", 2)


def test_the_suites_own_mistakes_are_told(found, write):
    path = write("tasks: [{domain: llm, batch_size: 6, devices: 4}]\n")
    with pytest.raises(UserError, match="a batch of 6 cannot be divided among 4 devices"):
        shrunk(path, found)


def test_what_stands_in_is_there_and_needs_no_more(found):
    for domain in found.domains.values():
        for table in (domain.models, domain.datasets, domain.trainings):
            for entry in table.values():
                if entry.small:
                    assert not table[entry.small].small
        for dataset in domain.datasets.values():
            if dataset.small:
                small = domain.datasets[dataset.small]
                assert small.fetch is None
                assert not small.takes_path
