"""Links between MLflow's pages, and the descriptions that have them."""

from collections.abc import Iterable, Sequence

from dyt_bench.tracking.parts import Group, Part, all_groups
from dyt_bench.verdicts.words import escaped, markdown_table

OVERVIEW = "overview"
_SEE = "  \nSee also: "  # begins the line of a run's description that has links


def address(base: str, experiment_id: str, view: str | None) -> str:
    """The address of a view on the server at ``base``; of all charts if ``view`` is None."""
    query = "workflowType=machine_learning&compareRunsMode=CHART"
    if view is not None:
        query += f"&viewStateShareKey={view}"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def described(identity: str, every: Sequence[Part]) -> str:
    """The experiment's description, in Markdown: the answer, links to views, the leaderboards.

    MLflow's list of experiments shows how it begins, as plain text.
    """
    answers = dict.fromkeys(f"{escaped(part.title)}: {escaped(part.answer)}" for part in every)
    texts = [" ".join(text.removesuffix(": ") for text in answers)]
    if len(every) == 1:
        texts += _links(identity, every[0].groups)
        texts += [markdown_table(every[0].leaderboard)] if every[0].leaderboard else []
        return "\n\n".join(texts)
    texts += _links(identity, all_groups(every))
    for part in every:
        texts.append(f"### {escaped(part.label)}")
        texts += _links(identity, part.groups, f".{part.workspace}")
        texts += [markdown_table(part.leaderboard)] if part.leaderboard else []
    return "\n\n".join(texts)


def linked(note: str, identity: str, group: Group, suite: str) -> str:
    """A run's description with links to the pages that compare it.

    They are its second line: MLflow folds descriptions, and covers the fourth line.
    """
    links = [
        f"[{escaped(group.name)} seed by seed]({_to(identity, group.view)})",
        f"[all models, means over seeds]({_to(identity, OVERVIEW)})",
        f"the report, which `dyt-bench report {suite}` writes",
    ]
    first, blank, others = note.partition("\n\n")
    return f"{first.partition(_SEE)[0]}{_SEE}{', '.join(links)}.{blank}{others}"


def _links(identity: str, groups: Iterable[Group], end: str = "") -> list[str]:
    """Links to the overview and to every group's view, whose names have this end."""
    links = [f"[{escaped(s.name)}]({_to(identity, s.view + end)})" for s in groups]
    return [
        f"[Overview: variants compared, means over seeds]({_to(identity, OVERVIEW + end)})",
        f"Seed by seed: {', '.join(links)}",
    ]


def _to(identity: str, view: str) -> str:
    """The address of a view, from another page of the same server."""
    return address("", identity, view)[1:]
