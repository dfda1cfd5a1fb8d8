"""A healthy domain keeps every rule; one with a defect breaks the rule that names it, no other."""

import pytest
from torch import nn

import dyt_defects
from dyt_bench.testing import RULES
from dyt_bench.testing.checked import CheckedDomain
from dyt_bench.testing.rules.training import _first_reason
from dyt_defects.heavy import Heavy

DEFECTS = [
    (dyt_defects.MistypedMode, "contract", "mode 'minimum'"),
    (Heavy, "import", "Importing dyt_defects.heavy imported numpy"),
    (dyt_defects.NoLightning, "parts", "build_module returned a Sequential"),
    (dyt_defects.NoUnits, "units", "units_per_sample is 0.5"),
    (dyt_defects.ShuffledByTheClock, "seeds", "batches differed between two builds"),
    (dyt_defects.ShuffledAlwaysTheSame, "seeds", "the same for seed 0 and seed 1"),
    (dyt_defects.Leaking, "leak", "validation samples were trained on"),
    (dyt_defects.NoisyValidation, "validation", "val/loss was"),
    (dyt_defects.Diverging, "trains", "the loss became inf at step 3"),
    (dyt_defects.NotPicklingItself, "process", "The domain does not pickle"),
    (dyt_defects.StartedByProcess, "repeat", "weights differed in another process"),
    (dyt_defects.Forgetful, "resume", "after the interruption"),
    (dyt_defects.WithoutNorms, "variants", "has no norm that can be replaced"),
    (dyt_defects.NotPickling, "pickles", "dataset does not pickle"),
    (dyt_defects.DrawingInLoaders, "loader-workers", "Batch 0 was another one"),
    (dyt_defects.NotLogging, "logs", "val/error was logged, as a finite number, at no step"),
    (dyt_defects.TheWrongWayRound, "improves", "'max' says that more is better"),
    (dyt_defects.NeverBeatingItsBaseline, "reference", "the mean reaches 0"),
    (dyt_defects.Slow, "step", "more than the 1e-06 s of Model.step_s"),
    (dyt_defects.TrustingItsPath, "bad-data", "raised UnicodeDecodeError"),
]


def by_name(pair):
    return pair.__name__ if isinstance(pair, type) else None


def test_why_the_first_norm_cannot_be_replaced():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    assert _first_reason(model).startswith(": 1: BatchNorm1d averages over more than the features")
    assert _first_reason(nn.Linear(4, 4)) == ""


def test_what_a_rule_needs_is_checked_before_it():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    for number, rule in enumerate(RULES):
        assert set(rule.needs) <= set(RULES[:number])


@pytest.mark.slow
def test_a_healthy_domain_keeps_every_rule():
    checked = CheckedDomain(dyt_defects.domain)
    assert {rule.name: str(checked.result(rule)) for rule in RULES} == {
        rule.name: "" for rule in RULES
    }


@pytest.mark.slow
@pytest.mark.parametrize(("defect", "name", "seen"), DEFECTS, ids=by_name)
def test_a_defect_breaks_the_rule_that_names_it_and_no_other(defect, name, seen):
    checked = CheckedDomain(defect())
    results = {rule.name: checked.result(rule) for rule in RULES}
    assert [key for key, result in results.items() if result.state == "broken"] == [name]
    assert seen in results[name].seen
    said = str(results[name]).splitlines()
    assert [line.split(":")[0] for line in said] == ["rule", "why", "seen", "change"]
    assert all(line.endswith(".") for line in said)
