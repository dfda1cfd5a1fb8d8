"""The rules as an author's tests: three lines, each rule a test, the words of `check`."""

import subprocess
import sys

import pytest

import dyt_defects
from dyt_bench.errors import UserError
from dyt_bench.testing import RULES, conformance
from dyt_bench.testing.checked import CheckedDomain

pytestmark = pytest.mark.slow


def collected(test):
    (mark,) = test.pytestmark
    return mark.args[1]


def call(test, name):
    """Run the test of one rule."""
    (case,) = (case for case in collected(test) if case.id == name)
    test(*case.values)


def test_each_rule_is_a_test_with_its_name():
    cases = collected(conformance(dyt_defects.domain, slow=["reference"]))
    assert [case.id for case in cases] == [rule.name for rule in RULES]
    assert {case.id for case in cases if case.marks} == {"reference"}


def test_of_several_models_the_name_comes_first():
    class Two(dyt_defects.Healthy):
        models = dict.fromkeys(("small", "large"), dyt_defects.Healthy.models["line"])

    cases = collected(conformance(Two(), models=["small", "large"]))
    assert [case.id for case in cases][:: len(RULES)] == ["small-contract", "large-contract"]


def test_a_broken_rule_fails_with_what_check_prints():
    domain = dyt_defects.MistypedMode()
    with pytest.raises(pytest.fail.Exception) as failure:
        call(conformance(domain), "contract")
    assert str(failure.value) == str(CheckedDomain(domain).result(RULES[0]))


def test_what_cannot_be_checked_is_skipped_with_its_reason():
    with pytest.raises(pytest.skip.Exception, match="contract does not hold"):
        call(conformance(dyt_defects.MistypedMode()), "import")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"models": ["lime"]}, "unknown model 'lime'.*did you mean 'line'"),
        ({"dataset": "dots"}, "unknown data set 'dots'"),
        ({"path": "somewhere"}, "data set 'points' takes no path"),
        ({"slow": ["referenc"]}, "unknown rule 'referenc'.*did you mean 'reference'"),
    ],
)
def test_a_mistake_in_the_authors_file_is_one_sentence(how, message):
    with pytest.raises(UserError, match=message):
        conformance(dyt_defects.domain, **how)


def test_dyt_bench_needs_no_pytest_and_says_so():
    script = f"""
import sys
sys.path, sys.modules["pytest"] = {sys.path}, None
import dyt_defects
from dyt_bench.testing import conformance
try:
    conformance(dyt_defects.domain)
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("conformance() makes tests for pytest, which is not installed")
