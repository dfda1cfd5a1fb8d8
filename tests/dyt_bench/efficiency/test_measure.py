"""Efficiency suites: the measurement, and the page about it."""

import json
import math
from unittest.mock import ANY

import pytest
from scipy import stats

from dyt_bench.efficiency.measure import COMPILED, PARTS, measure
from dyt_bench.efficiency.page import lines, row, sentence, write_page
from dyt_bench.plugin.task import AA, Task, Variant

TASK = Task(
    domain="vision",
    model="convnext",
    dataset="digits",
    steps=1,
    batch_size=2,
    learning_rate=1e-3,
    val_every=1,
)
SECONDS = {
    part: {
        "native": [0.010, 0.010],
        "dyt": [0.008, 0.009],
        "identity": [0.006, 0.006],
        AA: [0.0101, 0.0101],
    }
    for part in PARTS
}


def test_every_part_of_every_variant_is_timed_in_turn():
    variants = [Variant(), Variant(name="dyt"), Variant(name="identity")]
    seconds = measure(TASK, variants, rounds=2)
    assert set(seconds) == set(PARTS)
    for variants in seconds.values():
        assert set(variants) == {"native", "dyt", "identity", AA}
        assert all(len(values) == 2 and min(values) > 0 for values in variants.values())
    # What an identity does is nothing: whatever the machine is doing, that shows.
    alone = {
        variant: min(seconds["norms, inference"][variant]) for variant in ("native", "identity")
    }
    assert alone["identity"] < alone["native"]


def test_the_page_has_the_share_the_saving_and_the_floor(tmp_path):
    found = lines("vision/convnext", [SECONDS])
    assert [line.variant for line in found] == ["native", "dyt", "identity", AA]
    assert found[1].ratio["step"] == (pytest.approx(0.85), ANY, ANY)
    assert row(found[1])["step"] == "8.50 [0.85]"
    said = sentence(found)
    assert "norms take 100.0% of a step; dyt saves 15.0%; identity saves 40.0% (A/A 1.0%)" in said
    environment = {"cpu": "a CPU", "cores": "2", "torch": "2", "commit": "abc"}
    write_page("A title", found, environment, tmp_path)
    assert said in (tmp_path / "README.md").read_text()
    assert (tmp_path / "efficiency.png").stat().st_size > 0
    content = json.loads((tmp_path / "efficiency.json").read_text())
    assert content["lines"][0]["variant"] == "native"
    assert content["lines"][1]["ratio"]["step"] == {
        "middle": pytest.approx(0.85),
        "low": None,
        "high": None,
    }


def test_what_is_below_the_floor_is_called_noise():
    seconds = {part: {**variants, "dyt": [0.00999, 0.00999]} for part, variants in SECONDS.items()}
    assert "dyt saves 0.1%, within the noise" in sentence(lines("m", [seconds]))


def test_the_unit_is_the_build():
    slower = {part: {**own, "dyt": [0.0095, 0.0095]} for part, own in SECONDS.items()}
    faster = {part: {**own, "dyt": [0.0080, 0.0080]} for part, own in SECONDS.items()}
    found = lines("m", [slower, faster, slower])
    ratio = found[1].ratio["step"]
    logs = [math.log(value) for value in (0.95, 0.80, 0.95)]
    expected = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (ratio.low, ratio.high) == pytest.approx(
        (math.exp(expected.low), math.exp(expected.high))
    )
    assert row(found[1])["step"] == f"9.00 [0.90; {ratio.low:.2f} to {ratio.high:.2f}]"
    assert "dyt saves 10.3%, within the noise" in sentence(found)


@pytest.mark.slow
def test_compiled_parts_are_timed_for_every_variant():
    variants = [Variant(), Variant(name="dyt")]
    seconds = measure(TASK, variants, rounds=2, compile=True)
    assert set(seconds) == {*PARTS, *COMPILED}
    assert set(seconds["step, compiled"]) == {"native", "dyt", AA}
