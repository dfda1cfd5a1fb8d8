"""A rule, and the result of checking a domain by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["kept", "note", "broken", "skipped"]
Check = Callable[[Any], None]  # of a `CheckedDomain`, which knows rules and so comes after them


class Broken(Exception):
    """A rule does not hold. Raised by its check, and by the methods of `CheckedDomain`.

    Args:
        seen: one sentence, what the domain did.
        change: one sentence, what its author should change.
    """

    def __init__(self, seen: str, change: str) -> None:
        super().__init__(seen)
        self.seen, self.change = seen, change


class Remark(Exception):
    """Whether a rule holds cannot be decided for this domain; one sentence gives the reason."""


@dataclass(frozen=True)
class Rule:
    """A property that every domain must have."""

    name: str  # "loader-workers"
    says: str  # one sentence: what must hold
    why: str  # one sentence: what goes wrong where it does not
    check: Check  # raises Broken, or Remark
    needs: tuple["Rule", ...] = ()  # rules that must hold before this one can be checked

    def apply(self, checked: Any) -> "RuleResult":
        """Check the domain. An exception that is not the domain's fault is raised."""
        try:
            self.check(checked)
        except Broken as broken:
            return RuleResult(self, "broken", broken.seen, broken.change, broken.__cause__)
        except Remark as remark:
            return RuleResult(self, "note", str(remark))
        return RuleResult(self, "kept")


@dataclass(frozen=True)
class RuleResult:
    """Whether a domain keeps a rule."""

    rule: Rule
    state: State
    seen: str = ""  # one sentence, unless the rule is kept
    change: str = ""  # one sentence, if the rule is broken
    cause: BaseException | None = None  # the domain's exception, if one broke the rule

    def __str__(self) -> str:
        if self.state == "broken":
            return (
                f"rule:   {self.rule.says}\nwhy:    {self.rule.why}\n"
                f"seen:   {self.seen}\nchange: {self.change}"
            )
        return self.seen


def rule(*, says: str, why: str, needs: tuple[Rule, ...] = ()) -> Callable[[Check], Rule]:
    """A decorator: the function becomes the check of a rule of the same name."""

    def named(check: Check) -> Rule:
        return Rule(check.__name__.strip("_").replace("_", "-"), says, why, check, needs)

    return named
