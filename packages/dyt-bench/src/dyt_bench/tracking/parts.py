"""What each workspace has in an experiment, kept in a tag, so that any of them can show all.

Several machines send to one server. Each writes a tag of its own alone; the experiment's
description and views are made from the tags of all.
"""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from dyt_bench.records.home import Origin
from dyt_bench.tracking.store import metric_name
from dyt_bench.verdicts.words import Row

# MLflow shows no tag that begins with its own name, and this one is unreadable.
TAG = "mlflow.dyt_bench.part."
TAG_LIMIT = 20_000  # characters, MLflow's


# Sections of a summary's charts; MLflow sorts them by name.
RESULT, CURVES, COST, DIAGNOSTICS = "1 result", "2 curves", "3 cost", "4 diagnostics"


@dataclass(frozen=True)
class Group:
    """A task group as charts need it."""

    name: str  # "vision/vit"
    short: str  # "vit" if that is unique in the suite, as titles of charts are narrow
    metric: str  # by which its domain is judged

    def key(self, section: str, metric: str) -> str:
        """A metric's name in a summary: ``vit 1 result/val acc``.

        It is a chart's title, which MLflow cuts at the end. What precedes its only slash is the
        section on the summary's own page.
        """
        start, end = (name.replace("/", " ") for name in (f"{self.short} {section}", metric))
        return f"{metric_name(start)}/{metric_name(end)}"

    @property
    def view(self) -> str:
        """The name of the view that shows the group's runs."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower())


@dataclass(frozen=True)
class Part:
    """One workspace's groups and verdicts."""

    workspace: str
    machine: str
    title: str  # of the suite
    groups: list[Group]
    leaderboard: list[Row]
    answer: str = ""  # the verdicts in one sentence

    @property
    def label(self) -> str:
        return Origin(self.workspace, self.machine).label


def packed(part: Part) -> str:
    """The tag's value; without the leaderboard where it is too long for a tag."""
    value = _packed(asdict(part))
    return value if len(value) <= TAG_LIMIT else _packed({**asdict(part), "leaderboard": []})


def parts(tags: Mapping[str, str]) -> list[Part]:
    """Of all workspaces, by machine; a tag that cannot be read is left out."""
    found = [_unpacked(value) for key, value in tags.items() if key.startswith(TAG)]
    whole = [part for part in found if part is not None]
    return sorted(whole, key=lambda part: (part.machine, part.workspace))


def all_groups(of: Sequence[Part]) -> list[Group]:
    """The groups of all parts, each once."""
    return list({group.name: group for part in of for group in part.groups}.values())


def _packed(content: Mapping[str, object]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(content).encode(), 9)).decode()


def _unpacked(value: str) -> Part | None:
    try:
        content = json.loads(zlib.decompress(base64.b64decode(value)))
        return Part(**{**content, "groups": [Group(**each) for each in content["groups"]]})
    except (ValueError, TypeError, KeyError, zlib.error):  # another version's, or a user's
        return None
