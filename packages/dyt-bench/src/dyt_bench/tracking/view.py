"""Views of a suite in MLflow's UI.

A view is an experiment tag from which MLflow's page reads its state. The tag's format is not
documented: the tests open the page in a browser and check that the charts are there.
"""

import base64
import json
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dyt_bench.errors import printable
from dyt_bench.tracking.links import OVERVIEW, described
from dyt_bench.tracking.parts import (
    COST,
    CURVES,
    DIAGNOSTICS,
    RESULT,
    TAG,
    TAG_LIMIT,
    Group,
    Part,
    all_groups,
    packed,
    parts,
)
from dyt_bench.tracking.store import (
    GROUP_TAG,
    KIND_TAG,
    MEASURED,
    MEMBER_TAG,
    NOTE_TAG,
    PLACE_TAG,
    VARIANT_TAG,
    WORKSPACE_TAG,
    Store,
    metric_name,
)

_TAG = "mlflow.sharedViewState."
# Section of a summary's metrics -> its title.
_SECTIONS = {
    RESULT: "result",
    CURVES: "learning curves",
    COST: "cost",
    DIAGNOSTICS: "diagnostics",
}
_SMOOTH = {"lineSmoothness": 40}  # the loss of single batches is noisy


def publish(store: Store, part: Part) -> None:
    """Write what one workspace has, and from what all have the views and the description."""
    identity = store.experiment_id
    tags = {f"{TAG}{part.workspace}": packed(part)}
    there = {key: str(text) for key, text in store.client.get_experiment(identity).tags.items()}
    every = parts({**there, **tags})
    tags |= {f"{_TAG}{name}": _pack(name, state) for name, state in _views(every).items()}
    tags[NOTE_TAG] = described(identity, every)
    tags["verdicts"] = _counted(every)
    # Without this tag MLflow opens its page for language model applications.
    tags["mlflow.experimentKind"] = "custom_model_development"
    for key, value in tags.items():
        if len(value) <= TAG_LIMIT:
            store.client.set_experiment_tag(identity, key, printable(value))


def _counted(every: Sequence[Part]) -> str:
    """What the list of experiments shows of the leaderboards: ``2 equivalent, 1 worse``."""
    words = [re.split(r"[,(]", row["verdict"])[0].strip() for p in every for row in p.leaderboard]
    counts = Counter(words).most_common()
    return ", ".join(f"{count} {word}" for word, count in counts) or "none yet"


def has_overview(tags: Mapping[str, str]) -> bool:
    """Whether an experiment with these tags has the view that `publish` writes."""
    return f"{_TAG}{OVERVIEW}" in tags


def _views(every: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """Name -> state: of all workspaces together, and where there are several, of each."""
    groups = all_groups(every)
    by = VARIANT_TAG if len(every) == 1 else PLACE_TAG
    views = {OVERVIEW: _overview(groups, by)}
    views |= {group.view: _runs(group, by) for group in groups}
    for part in every if len(every) > 1 else ():
        own = _quoted(part.workspace)
        views[_of_part(OVERVIEW, part)] = _overview(
            part.groups, VARIANT_TAG, f" and tags.`{WORKSPACE_TAG}` = {own}"
        )
        for group in part.groups:
            which = f" and tags.`{MEMBER_TAG}{part.workspace}` = 'run'"
            views[_of_part(group.view, part)] = _runs(group, VARIANT_TAG, which)
    return views


def _of_part(view: str, part: Part) -> str:
    """The name of a workspace's own view, where there are several."""
    return f"{view}.{part.workspace}"


def _overview(groups: Sequence[Group], by: str, which: str = "") -> dict[str, Any]:
    """Summaries grouped by a tag: one chart for each group in every section."""
    # One kind of chart for every group, then the next kind.
    charts = [_of(s, _bar, RESULT, s.metric) for s in groups]
    charts += [_of(s, _line, CURVES, s.metric) for s in groups]
    charts += [{**_of(s, _line, CURVES, "train/loss"), **_SMOOTH} for s in groups]
    charts += [_of(s, _bar, COST, "step time ratio") for s in groups]
    charts += [_of(s, _bar, COST, "peak memory MiB") for s in groups]
    charts += [_of(s, _line, DIAGNOSTICS, "alpha by layer") for s in groups]
    charts += [_of(s, _line, DIAGNOSTICS, "saturated share by layer") for s in groups]
    columns = (by, "verdict", "gain", "step time", "seeds")
    return _state(f"tags.{KIND_TAG} = 'summary'{which}", charts, by, columns)


def _of(
    group: Group, chart: Callable[[str, str], dict[str, Any]], section: str, metric: str
) -> dict[str, Any]:
    """A chart of a group's own metric."""
    return chart(group.key(section, metric), section)


def _runs(group: Group, by: str, which: str = "") -> dict[str, Any]:
    """The runs of one group, grouped by a tag: lines are means over seeds."""
    metric = group.metric
    # Metric -> section and kind of its chart.
    shown = {
        metric: (CURVES, _line),
        "train/loss": (CURVES, _line),
        "train/learning_rate": (CURVES, _line),
        "train/gradient_norm": (CURVES, _line),
        "wall time/step_ms": (COST, _line),
        "within/alpha mean": (DIAGNOSTICS, _line),
        "within/alpha by layer": (DIAGNOSTICS, _line),
        "within/saturated share": (DIAGNOSTICS, _line),
        "within/saturated share by layer": (DIAGNOSTICS, _line),
        "system/cpu_utilization_percentage": (DIAGNOSTICS, _line),
    }
    charts = [_bar(metric, RESULT)]
    charts += [chart(name, section) for name, (section, chart) in shown.items()]
    charts = [{**c, **(_SMOOTH if c["metricKey"] == "train/loss" else {})} for c in charts]
    search = f"tags.{KIND_TAG} = 'run' and tags.{GROUP_TAG} = {_quoted(group.name)}"
    once = ("time/step_ms_median", "time/step_ratio", "memory/peak_mib")
    columns = (by, f"{MEASURED}best/{metric_name(metric)}", *(MEASURED + name for name in once))
    return _state(search + which, charts, by, columns)


def _quoted(name: str) -> str:
    """A string of MLflow's filters, which know no escapes: the other quotes where it has some."""
    return f'"{name}"' if "'" in name else f"'{name}'"


def _state(
    search: str, charts: list[dict[str, Any]], by: str, columns: Sequence[str]
) -> dict[str, Any]:
    """The page's whole state; it would take what is missing from the reader's last visit.

    Args:
        columns: tags that the table shows.
    """
    return {
        "searchFilter": search,
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"tags.`{name}`" for name in columns],
        "runsHiddenMode": "SHOW_ALL",
        "runsVisibilityMap": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsExpanded": {},
        "groupsExpanded": {},
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": by}],
        },
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "chartsSearchFilter": "",
        "compareRunSections": [
            {
                "uuid": section,
                "name": title,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
                "columns": 2,  # of three, titles are cut behind the section's name
                "cardHeight": 300,
            }
            for section, title in _SECTIONS.items()
        ],
        "compareRunCharts": charts,
    }


def _bar(metric: str, section: str) -> dict[str, Any]:
    return {
        "uuid": f"{section} {metric} bar",
        "type": "BAR",
        "metricKey": metric,
        "metricSectionId": section,
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": False,
    }


def _line(metric: str, section: str) -> dict[str, Any]:
    return {
        **_bar(metric, section),
        "uuid": f"{section} {metric} line",
        "type": "LINE",
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": False,
        "useGlobalXaxisKey": False,
        "range": {},
    }


def _pack(name: str, state: Mapping[str, Any]) -> str:
    now = round(time.time() * 1e3)
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    return json.dumps(
        {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    )
