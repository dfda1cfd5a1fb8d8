"""What MLflow's page shows of a suite: views, and the links to them.

A view is an experiment tag that MLflow's page reads its state from. The tag's format is not
documented: the tests open the page in a browser and look whether the charts are there.
"""

import base64
import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dyt_bench.plugin.domain import Metric
from dyt_bench.tracking.store import KIND_TAG, NOTE_TAG, Store, mended

if TYPE_CHECKING:
    from dyt_bench.verdicts.standings import Standing

OVERVIEW = "overview"
GROUP_TAG = "group"  # of a run: the task group that it belongs to
# What the views group by: the variant. MLflow colours a group by a hash of the parameter's name and
# value, and under the name "norm" it makes native and dyt two greys.
GROUP_PARAM = "normalization"
_TAG = "mlflow.sharedViewState."
_SECTIONS = ("result", "learning curves", "cost", "diagnostics")
_TAG_LIMIT = 20_000  # characters, MLflow's
_SMOOTH = {"lineSmoothness": 40}  # a batch's loss jumps


@dataclass(frozen=True)
class GroupView:
    """A model on a data set, under whatever variant."""

    name: str  # "vision/vit", with what tells it from the suite's others
    short: str  # "vit", where that is enough: charts have narrow titles
    metric: Metric

    def key(self, section: str, metric: str) -> str:
        """A metric's name in a summary: what stands before its only slash is the section."""
        name = f"{self.short} {metric}".replace("/", " ")
        return f"{section}/{mended(name)}"

    @property
    def view(self) -> str:
        """The name of the view of its runs."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower())


def address(base: str, experiment_id: str, view: str | None) -> str:
    """Where a browser finds the view of a server at ``base``; without a view, all charts."""
    query = "workflowType=machine_learning&compareRunsMode=CHART"
    if view is not None:
        query += f"&viewStateShareKey={view}"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def publish(
    store: Store,
    title: str,
    groups: Sequence[GroupView],
    standings: "Sequence[Standing]",
) -> None:
    """Write the views of a suite, and the experiment's description that leads to them."""
    views = {OVERVIEW: _overview(groups)}
    views |= {group.view: _runs(group) for group in groups}
    tags = {f"{_TAG}{name}": _pack(name, state) for name, state in views.items()}
    tags[NOTE_TAG] = _note(title, store.experiment_id, groups, standings)
    # Without it MLflow opens the page that it made for language model applications.
    tags["mlflow.experimentKind"] = "custom_model_development"
    for key, value in tags.items():
        if len(value) <= _TAG_LIMIT:
            store.client.set_experiment_tag(store.experiment_id, key, value)


def has_overview(tags: Mapping[str, str]) -> bool:
    """Whether an experiment with these tags has the view that `publish` writes."""
    return f"{_TAG}{OVERVIEW}" in tags


def _overview(groups: Sequence[GroupView]) -> dict[str, Any]:
    """Summaries grouped by variant: a chart a group in every section."""
    # One kind of chart for every group, then the next kind.
    charts = [_of(s, _bar, "result", s.metric.name) for s in groups]
    charts += [_of(s, _line, "curves", s.metric.name) for s in groups]
    charts += [{**_of(s, _line, "curves", "train/loss"), **_SMOOTH} for s in groups]
    charts += [_of(s, _bar, "cost", "step time ratio") for s in groups]
    charts += [_of(s, _bar, "cost", "peak memory MiB") for s in groups]
    charts += [_of(s, _line, "diagnostics", "alpha by layer") for s in groups]
    charts += [_of(s, _line, "diagnostics", "saturated share by layer") for s in groups]
    hidden = [f"summary/{name}" for name in _PROGRAMS]
    for s in groups:
        hidden += [s.key("result", f"{s.metric.name} at best")]
        hidden += [s.key("cost", name) for name in ("step time ms", "throughput units per s")]
    charts += [{**_bar(name, "result"), "deleted": True} for name in hidden]
    return _state(f"tags.{KIND_TAG} = 'summary'", charts)


def _of(
    group: GroupView, chart: Callable[[str, str], dict[str, Any]], section: str, metric: str
) -> dict[str, Any]:
    """A chart of a group's own metric."""
    shown_in = {"curves": "learning curves"}.get(section, section)
    return chart(group.key(section, metric), shown_in)


# Of every summary under one name, for programs and for the table.
_PROGRAMS = ("mean", "least", "most", "seeds", "gain", "gain_low", "gain_high", "step_ratio")


def _runs(group: GroupView) -> dict[str, Any]:
    """One group's runs grouped by variant: lines are means over seeds."""
    metric = group.metric.name
    charts = [
        _bar(metric, "result"),
        _bar(f"best/{metric}", "result"),
        _line(metric, "learning curves"),
        {**_line("train/loss", "learning curves"), **_SMOOTH},
        _bar("time/step_ratio", "cost"),
        _bar("time/step_ms_median", "cost"),
        _bar("memory/peak_mib", "cost"),
        _line("diagnostics/alpha by layer", "diagnostics"),
        _line("diagnostics/saturated share by layer", "diagnostics"),
        _line("system/cpu_utilization_percentage", "diagnostics"),
    ]
    search = f"tags.{KIND_TAG} = 'run' and tags.{GROUP_TAG} = '{group.name}'"
    return _state(search, charts)


def _state(search: str, charts: list[dict[str, Any]]) -> dict[str, Any]:
    """The page's whole state; what it is not told it takes from the reader's last visit."""
    return {
        "searchFilter": search,
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": ["params.`normalization`", "tags.`verdict`", "attributes.`Dataset`"],
        "runsHiddenMode": "SHOW_ALL",
        "runsVisibilityMap": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsExpanded": {},
        "groupsExpanded": {},
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "param", "groupByData": GROUP_PARAM}],
        },
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "chartsSearchFilter": "",
        "compareRunSections": [
            {
                "uuid": name,
                "name": name,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
                "columns": 3,
                "cardHeight": 300,
            }
            for name in _SECTIONS
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


def _note(
    title: str, experiment_id: str, groups: Iterable[GroupView], standings: "Sequence[Standing]"
) -> str:
    """The experiment's description, in Markdown: the leaderboard and the way to every view."""
    from dyt_bench.report.page import markdown_table
    from dyt_bench.report.words import compact_row

    links = [f"[{s.name}]({address('', experiment_id, s.view)[1:]})" for s in groups]
    overview = address("", experiment_id, OVERVIEW)[1:]
    parts = [
        f"**{title}**",
        f"[Overview: variants compared, means over seeds]({overview})",
        f"Seed by seed: {', '.join(links)}",
    ]
    if standings:
        parts.append(markdown_table([compact_row(standing) for standing in standings]))
    return "\n\n".join(parts)
