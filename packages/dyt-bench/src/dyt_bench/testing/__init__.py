"""What every domain must satisfy, as rules with names.

``dyt-bench check NAME`` goes through them. In the tests of a plugin they are three lines, and
every rule is a test of its own::

    from dyt_bench.testing import conformance
    from dyt_weather import domain

    test_conformance = conformance(domain)
"""

from dyt_bench.testing.plugin import conformance as conformance
from dyt_bench.testing.rule import Rule as Rule
from dyt_bench.testing.rule import Verdict as Verdict
from dyt_bench.testing.rules import RULES as RULES

__all__ = ["RULES", "Rule", "Verdict", "conformance"]
