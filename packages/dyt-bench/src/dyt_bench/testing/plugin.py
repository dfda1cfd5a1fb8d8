"""The rules as pytest tests: `conformance`."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dyt_bench.discovery.domains import unknown
from dyt_bench.errors import UserError
from dyt_bench.plugin.domain import Domain
from dyt_bench.testing.checked import CheckedDomain, checked_domains
from dyt_bench.testing.rule import Rule
from dyt_bench.testing.rules import RULES


def conformance(
    domain: Domain,
    *,
    models: Sequence[str] = (),
    dataset: str | None = None,
    path: Path | None = None,
    slow: Collection[str] = (),
) -> Callable[..., None]:
    """A test function for pytest, to be called ``test_...``: each rule is a test with its name.

    Args:
        models: the domain's models to check; by default the first.
        dataset: the domain's data set to train on; by default the first.
        path: of the data set, where it takes one.
        slow: names of rules whose tests get the mark ``slow``.

    Raises:
        UserError: pytest is not installed, or the domain has no such model, data set or rule.
    """
    try:
        import pytest
    except ModuleNotFoundError:
        raise UserError(
            "conformance() makes tests for pytest, which is not installed: pip install pytest"
        ) from None
    known = {rule.name: rule for rule in RULES}
    for name in slow:
        if name not in known:
            raise UserError(unknown("rule", name, known))
    chosen = checked_domains(domain, models=models, dataset=dataset, path=path)
    cases = [
        pytest.param(
            checked,
            rule,
            id=rule.name if len(chosen) == 1 else f"{checked.model}-{rule.name}",
            marks=[pytest.mark.slow] if rule.name in slow else [],
        )
        for checked in chosen
        for rule in RULES
    ]

    @pytest.mark.parametrize(("checked", "rule"), cases)
    def keeps(checked: CheckedDomain, rule: Rule) -> None:
        result = checked.result(rule)
        if result.state == "broken":
            if result.cause is not None:
                traceback.print_exception(result.cause)
            pytest.fail(str(result), pytrace=False)
        if result.state != "kept":
            pytest.skip(str(result))

    return keeps
