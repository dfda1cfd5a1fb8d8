"""Options of executors: what a suite and the user's own file say, each mistake in one sentence."""

from typing import Literal

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import EXECUTORS
from dyt_bench.errors import UserError
from dyt_bench.executors.contract import Bytes, Seconds
from dyt_bench.suite.executors import SETTINGS, make_executor
from dyt_bench.suite.expand import Selection, load_suite

ALL = Selection()
SUITE = "name: mine\nexecutor: {executor}\ntasks: [{{domain: llm}}]\n"


class Engine:
    """An executor with options."""

    def __init__(
        self,
        preload,
        *,
        queue: str = "",
        memory: Bytes | None = None,
        time: Seconds | None = None,
        cpus: float = 1.0,
        how: Literal["near", "far"] = "near",
        spot: bool = False,
    ):
        self.made = (list(preload), queue, memory, time, cpus, how, spot)

    def run(self, job, log, limits=None):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def engine(monkeypatch, tmp_path):
    monkeypatch.setitem(EXECUTORS.own, "engine", f"{__name__}:Engine")
    monkeypatch.setenv(SETTINGS, str(tmp_path / "executors.yaml"))


@pytest.fixture
def load(tmp_path):
    def loaded(executor, selection=ALL):
        (tmp_path / "s.yaml").write_text(SUITE.format(executor=executor))
        return load_suite(tmp_path / "s.yaml", discover(), selection)

    return loaded


def test_a_name_alone_and_options(load):
    assert load("engine").executor_options == {}
    suite = load("{name: engine, queue: long, memory: 8GiB, time: 2h, cpus: 2, spot: true}")
    assert suite.executor == "engine"
    assert make_executor(suite.executor, suite.executor_options, ["m"]).made == (
        ["m"],
        "long",
        8 * 2**30,
        7200.0,
        2.0,
        "near",
        True,
    )


def test_the_command_line_names_another_without_the_suites_options(load):
    suite = load("{name: engine, queue: long}", Selection(executor="local"))
    assert (suite.executor, suite.executor_options) == ("local", {})
    assert load("{name: engine, queue: long}", Selection(executor="engine")).executor_options


def test_the_users_own_options_give_way_to_the_suites(load, tmp_path):
    (tmp_path / "executors.yaml").write_text("engine: {queue: mine, cpus: 3}\nslurm: {}\n")
    suite = load("{name: engine, queue: long}")
    made = make_executor(suite.executor, suite.executor_options, []).made
    assert (made[1], made[4]) == ("long", 3.0)


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        ("{name: engine, queu: x}", r":2: executor.queu: unknown option .*'queu'.*queue"),
        ("{name: engine, memory: much}", r"executor.memory: expected a size such as .* 'much'"),
        ("{name: engine, time: -1}", r"executor.time: expected a duration"),
        ("{name: engine, cpus: two}", r"executor.cpus: .* 'two'"),
        ("{name: engine, how: by train}", r"executor.how: .*'near' or 'far', got 'by train'"),
        ("{name: engine, spot: 1}", r"executor.spot: .*, got 1"),
        ("{name: local, queue: x}", r"executor.queue: the executor local takes no options"),
        ("{queue: x}", r"executor.name: field required"),
        ("{name: enginee}", r"executor: unknown executor 'enginee'.*engine"),
        ("3", r"executor: .*got 3"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(load, executor, said):
    with pytest.raises(UserError, match=said) as raised:
        load(executor)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: {queu: x}", r"executors.yaml:1: engine.queu: unknown option"),
        ("engine: 3", r"executors.yaml:1: engine: expected for each executor a mapping"),
        ("[engine]", r"expected for each executor a mapping"),
        ("engine: {", r"executors.yaml:1: not valid YAML"),
    ],
)
def test_a_mistake_in_the_users_own_file_is_one_sentence(tmp_path, text, said):
    (tmp_path / "executors.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as raised:
        make_executor("engine", {}, [])
    assert "\n" not in str(raised.value)


def test_what_is_not_installed_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r'pip install "dyt-bench\[ray\]"'):
        make_executor("ray", {}, [])
    with pytest.raises(UserError, match=r'pip install "dyt-bench\[slurm\]"'):
        make_executor("slurm", {}, [])
