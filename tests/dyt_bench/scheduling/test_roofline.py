"""Forecasts for other machines: by hand where that can be done, and said to be forecasts."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.errors import UserError
from dyt_bench.plugin.task import Run, Task
from dyt_bench.scheduling.machines import (
    DEVICES,
    GIB,
    MATRIX,
    MEMORY,
    Device,
    Machine,
    parse,
    step_s,
)
from dyt_bench.scheduling.operations import Operation
from dyt_bench.scheduling.roofline import expected, summary, table
from dyt_bench.scheduling.work import Work

TASK = Task(
    domain="llm",
    model="llama",
    dataset="kjv",
    steps=100,
    batch_size=64,
    learning_rate=1e-3,
    val_every=10,
)
RUN = Run(task=TASK)
SLOW = Device("slow", 10 * GIB, 1e9, 1e12, 1e11, launch=1e-6, price=2.0, base=GIB)


def work(peak, state, operations=None):
    return Work(10, peak * GIB, state * GIB, operations or {Operation(0.0, 8.0): 1})


def test_a_machine_is_a_device_and_how_many():
    assert parse("h100x8") == ("h100", 8)
    assert parse("A100-40") == ("a100-40", 1)
    assert parse("rtx4090x2") == ("rtx4090", 2)
    assert parse("here") == ("here", 1)


@pytest.mark.parametrize("text", ["h100x0", "h1000", "8xh100", "h100x", "", "h100x99999", "x8"])
def test_no_machine_is_one_sentence(text):
    with pytest.raises(UserError, match=r"there is no machine .*: give a device and how many"):
        parse(text)


def test_an_operation_takes_the_longest_of_three():
    operations = {
        Operation(1e9, 8.0): 2,  # by the rate of float32: 10 ms each
        Operation(1e9, 8.0, half=True): 1,  # of half precision: 1 ms
        Operation(0.0, 3e6): 3,  # by bandwidth: 3 ms each
        Operation(0.0, 8.0, special=1e9, drawn=1e9, tensors=9): 5,  # by its launch: 1 us each
    }
    by_hand = (2 * 10e-3 + 1e-3) / MATRIX + 3 * 3e-3 / MEMORY + 5e-6
    assert step_s(operations, SLOW) == pytest.approx(by_hand)


def test_a_cpus_caller_waits_for_each_operation():
    cpu = replace(SLOW, name="here", waits=True, special=1e9, drawn=1e8)
    operations = {
        Operation(1e9, 8.0): 2,  # 10 ms and 1 us each
        Operation(0.0, 3e6, special=4e6): 1,  # 4 ms rather than 3 for memory, and 1 us
        Operation(0.0, 8.0, drawn=1e6): 1,  # 10 ms and 1 us
        Operation(0.0, 8e6, tensors=50): 1,  # 8 ms for memory, and 50 us
    }
    by_hand = 2 * 10e-3 + 2e-6 + 4e-3 + 1e-6 + 10e-3 + 1e-6 + 8e-3 + 50e-6
    assert step_s(operations, cpu) == pytest.approx(by_hand)
    assert step_s(operations, replace(cpu, reached=0.5)) == pytest.approx(2 * by_hand)


def test_a_run_that_fits_has_time_and_price():
    found = expected(RUN, [work(4, 1)] * 3, Machine(SLOW, 1))
    assert found.memory == pytest.approx(GIB + 4 * 1.05 * GIB)
    assert found.seconds == pytest.approx(100 * found.step_s)
    assert found.dollars == pytest.approx(found.seconds / 3600 * 2.0)
    assert not found.problem


def test_a_run_that_does_not_fit_is_told_what_would():
    works = [work(40, 4), work(5, 4), work(6, 4)]  # half a GiB a sample
    found = expected(RUN, works, Machine(SLOW, 4), ("fsdp2",))
    assert found.problem == "does not fit: it takes 43.0 GiB, a slow has 10"
    one, four, other = found.would_fit
    # 4 + 1 + 6 / 2 GiB and 5 % of it beside 1 GiB: eight samples; of a quarter of the state, 16
    assert one == "on one slow with micro_batch: 8"
    assert four == "on 4 slow with strategy: fsdp2, micro_batch: 8"
    assert other == "as it is on one l40s"


def divided(**choices):
    return replace(RUN, task=replace(TASK, **choices))


def test_devices_share_a_batch_and_are_all_paid():
    alone = expected(RUN, [work(4, 1)], Machine(SLOW, 4))
    shared = expected(divided(devices=4, micro_batch=8), [work(4, 1)], Machine(SLOW, 4))
    assert shared.step_s == pytest.approx(2 * alone.step_s)  # 64 / 4 / 8 micro-batches of this work
    assert shared.dollars == pytest.approx(2 * 4 * alone.dollars)
    assert "about" in summary(Machine(SLOW, 4), [shared])


def test_weights_are_copied_by_one_strategy_and_shared_by_the_other():
    of = replace(work(5, 4), weights=GIB)
    ddp = expected(divided(devices=4), [of], Machine(SLOW, 4))
    assert ddp.memory == pytest.approx(GIB + (1 + 4 + 1) * 1.05 * GIB)  # and what is sent
    fsdp = expected(divided(devices=4, strategy="fsdp2"), [of], Machine(SLOW, 4))
    assert fsdp.memory == pytest.approx(GIB + (1 + 4 / 4 + 0.1) * 1.05 * GIB)


def test_more_devices_than_there_are_is_told():
    found = expected(divided(devices=4), [work(1, 1)], Machine(SLOW, 2))
    assert found.problem == "takes 4 devices, there are 2"


def test_what_fits_nowhere_has_no_advice():
    found = expected(RUN, [work(4000, 3000), work(3500, 3000), work(3600, 3000)], Machine(SLOW, 1))
    assert found.would_fit == ()


def test_what_cannot_be_forecast_says_why():
    found = expected(RUN, "ValueError: out of luck", Machine(SLOW, 1))
    assert found.problem == "nothing is known: ValueError: out of luck"
    assert "out of luck" in table(Machine(SLOW, 1), [found])[0]


def test_the_sum_says_that_it_is_a_forecast():
    found = [expected(RUN, [work(4, 1)] * 3, Machine(SLOW, 2))] * 2
    said = summary(Machine(SLOW, 2), found)
    assert said.startswith("a forecast, not a measurement, for 2 x slow at 45% of its peak rate")
    assert "2 of 2 runs fit" in said


def test_devices_are_as_their_data_sheets():
    h100 = DEVICES["h100"]
    assert (h100.memory, h100.bandwidth, h100.half) == (80 * GIB, 3.35e12, 989e12)
    for device in DEVICES.values():
        assert device.single < device.half
        assert device.price > 0


def run(*arguments):
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def suite(tmp_path):
    """A suite whose data is not there."""
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\ntasks: [{domain: vision, models: [vit-tiny], datasets: [imagenet], "
        "path: nowhere, batch_size: 512}]\n"
    )
    return path


@pytest.mark.slow
def test_a_suite_is_forecast_without_its_data(suite, tmp_path):
    ended = run("plan", suite, "--machine", "h100x8", "--json", "--workspace", tmp_path / "w")
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    assert found["machine"] == "8 x h100"
    assert "a forecast, not a measurement" in found["forecast"]
    native, dyt = found["runs"]
    assert not native["problem"]
    # ViT-Ti has 5.7 M parameters: 16 bytes each with gradients and moments, and images of 0.3 GB.
    assert 1 < native["memory_bytes"] / GIB < 80
    # 3 passes of 2 x 1.26 GFLOP a picture, as its paper counts: what the peak takes at least.
    assert native["step_seconds"] > 3 * 2 * 1.2e9 * 512 / 989e12
    assert dyt["step_seconds"] > 0
    assert not (tmp_path / "w").exists()


def test_a_machine_that_is_none_is_told_before_anything_else(tmp_path):
    ended = run("plan", tmp_path / "missing.yaml", "--machine", "h1000")
    assert ended.exit_code == 2
    assert "there is no machine 'h1000'" in ended.stderr
