"""The rules that every domain must keep, each with a name.

``dyt-bench check NAME`` checks them. In the tests of a plug-in they take three lines, and every
rule is a test of its own::

    from dyt_bench.testing import conformance
    from dyt_weather import domain

    test_conformance = conformance(domain)
"""

from dyt_bench.plugin.version1 import old_name
from dyt_bench.testing.plugin import conformance as conformance
from dyt_bench.testing.rule import Rule as Rule
from dyt_bench.testing.rule import RuleResult as RuleResult
from dyt_bench.testing.rules import RULES as RULES

__all__ = ["RULES", "Rule", "RuleResult", "conformance"]

__getattr__ = old_name(__name__, "Verdict", "RuleResult")
