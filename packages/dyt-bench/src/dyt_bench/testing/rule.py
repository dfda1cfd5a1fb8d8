"""What a rule is, and what is said when a domain breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dyt_bench.testing.examined import ExaminedDomain

State = Literal["kept", "note", "broken", "skipped"]
Examine = Callable[["ExaminedDomain"], None]


class Broken(Exception):
    """A rule does not hold. Raised by what examines it, and by the parts of a `ExaminedDomain`.

    Args:
        seen: one sentence, what the domain did.
        change: one sentence, what its author is to change.
    """

    def __init__(self, seen: str, change: str) -> None:
        super().__init__(seen)
        self.seen, self.change = seen, change


class Remark(Exception):
    """Whether a rule holds cannot be told of this domain; one sentence says why."""


@dataclass(frozen=True)
class Rule:
    """One thing that every domain must satisfy."""

    name: str  # "loader-workers"
    says: str  # one sentence: what must hold
    why: str  # one sentence: what goes wrong where it does not
    examine: Examine  # raises Broken, or Remark
    needs: tuple[str, ...] = ()  # rules without which this one cannot be examined

    def verdict(self, examined: ExaminedDomain) -> Verdict:
        """Whether ``examined`` keeps the rule. What is no fault of the domain is raised."""
        try:
            self.examine(examined)
        except Broken as broken:
            return Verdict(self, "broken", broken.seen, broken.change, broken.__cause__)
        except Remark as remark:
            return Verdict(self, "note", str(remark))
        return Verdict(self, "kept")


@dataclass(frozen=True)
class Verdict:
    """Whether a domain keeps a rule."""

    rule: Rule
    state: State
    seen: str = ""  # of a rule not kept: one sentence
    change: str = ""  # of a broken one: one sentence
    cause: BaseException | None = None  # what the domain raised, if that broke it

    def __str__(self) -> str:
        if self.state == "broken":
            return (
                f"rule:   {self.rule.says}\nwhy:    {self.rule.why}\n"
                f"seen:   {self.seen}\nchange: {self.change}"
            )
        return self.seen


def rule(*, says: str, why: str, needs: tuple[str, ...] = ()) -> Callable[[Examine], Rule]:
    """A decorator: the function examines the rule that is called as it is."""

    def named(examine: Examine) -> Rule:
        return Rule(examine.__name__.strip("_").replace("_", "-"), says, why, examine, needs)

    return named
