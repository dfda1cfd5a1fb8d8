"""Runs that collapse: counted apart, and never part of a mean."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from dyt_bench.verdicts.runs import EndedRun


@dataclass(frozen=True)
class Collapses:
    """How many runs of a variant and of the baseline diverged, or learned nothing."""

    variant: int = 0
    of: int = 0  # the variant's runs that finished or diverged
    baseline: int = 0
    baseline_of: int = 0

    @classmethod
    def of_runs(
        cls, runs: Sequence[EndedRun], variant: str, baseline: str, collapsed: Set[str]
    ) -> "Collapses":
        """Counted over the ``runs`` of one group; ``collapsed`` holds identities."""
        counts = []
        for name in (variant, baseline):
            ended = [r for r in runs if r.variant == name and not r.not_comparable]
            ended = [r for r in ended if r.result.status in ("finished", "diverged")]
            counts += [sum(run.identity in collapsed for run in ended), len(ended)]
        return cls(*counts)

    @property
    def more(self) -> bool:
        """Whether the variant collapsed at a larger share of its runs than the baseline."""
        return self.variant * max(1, self.baseline_of) > self.baseline * max(1, self.of)

    @property
    def p(self) -> float | None:
        """Fisher's exact test, two-sided, of equal rates; None if nothing collapsed."""
        if not self.variant and not self.baseline:
            return None
        from scipy.stats import fisher_exact

        table = [
            [self.variant, self.of - self.variant],
            [self.baseline, self.baseline_of - self.baseline],
        ]
        return float(fisher_exact(table).pvalue)


NONE = Collapses()
