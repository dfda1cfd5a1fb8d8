"""Views of a suite in MLflow's UI, and the experiment's description with links to them.

A view is an experiment tag from which MLflow's page reads its state. The tag's format is not
documented: the tests open the page in a browser and check that the charts are there.
"""

import base64
import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dyt_bench.errors import printable
from dyt_bench.plugin.domain import Metric
from dyt_bench.tracking.store import (
    GROUP_TAG,
    KIND_TAG,
    NOTE_TAG,
    VARIANT_TAG,
    Store,
    metric_name,
)
from dyt_bench.verdicts.standings import Standing
from dyt_bench.verdicts.words import compact_row, escaped, markdown_table

OVERVIEW = "overview"
_TAG = "mlflow.sharedViewState."
_SECTIONS = ("result", "learning curves", "cost", "diagnostics")
_TAG_LIMIT = 20_000  # characters, MLflow's
_SMOOTH = {"lineSmoothness": 40}  # the loss of single batches is noisy


@dataclass(frozen=True)
class GroupCharts:
    """The charts of one task group: how they and its metrics are named."""

    name: str  # the group's: "vision/vit"
    short: str  # "vit" if that is unique in the suite, as titles of charts are narrow
    metric: Metric  # of the domain

    def key(self, section: str, metric: str) -> str:
        """A metric's name in a summary; the section is what precedes its only slash."""
        name = f"{self.short} {metric}".replace("/", " ")
        return f"{section}/{metric_name(name)}"

    @property
    def view(self) -> str:
        """The name of the view that shows the group's runs."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower())


def address(base: str, experiment_id: str, view: str | None) -> str:
    """The address of a view on the server at ``base``; of all charts if ``view`` is None."""
    query = "workflowType=machine_learning&compareRunsMode=CHART"
    if view is not None:
        query += f"&viewStateShareKey={view}"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def publish(
    store: Store,
    title: str,
    groups: Sequence[GroupCharts],
    standings: Sequence[Standing],
) -> None:
    """Write the views of a suite, and the experiment's description with links to them."""
    views = {OVERVIEW: _overview(groups)}
    views |= {group.view: _runs(group) for group in groups}
    tags = {f"{_TAG}{name}": _pack(name, state) for name, state in views.items()}
    tags[NOTE_TAG] = _note(title, store.experiment_id, groups, standings)
    # Without this tag MLflow opens its page for language model applications.
    tags["mlflow.experimentKind"] = "custom_model_development"
    for key, value in tags.items():
        if len(value) <= _TAG_LIMIT:
            store.client.set_experiment_tag(store.experiment_id, key, printable(value))


def has_overview(tags: Mapping[str, str]) -> bool:
    """Whether an experiment with these tags has the view that `publish` writes."""
    return f"{_TAG}{OVERVIEW}" in tags


def _overview(groups: Sequence[GroupCharts]) -> dict[str, Any]:
    """Summaries grouped by variant: one chart for each group in every section."""
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
    group: GroupCharts, chart: Callable[[str, str], dict[str, Any]], section: str, metric: str
) -> dict[str, Any]:
    """A chart of a group's own metric."""
    shown_in = {"curves": "learning curves"}.get(section, section)
    return chart(group.key(section, metric), shown_in)


# Metrics with the same name in every summary, for programs and for MLflow's table.
_PROGRAMS = ("mean", "least", "most", "seeds", "gain", "gain_low", "gain_high", "step_ratio")


def _runs(group: GroupCharts) -> dict[str, Any]:
    """The runs of one group, grouped by variant: lines are means over seeds."""
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
    search = f"tags.{KIND_TAG} = 'run' and tags.{GROUP_TAG} = {_quoted(group.name)}"
    return _state(search, charts)


def _quoted(name: str) -> str:
    """A string of MLflow's filters, which know no escapes: the other quotes where it has some."""
    return f'"{name}"' if "'" in name else f"'{name}'"


def _state(search: str, charts: list[dict[str, Any]]) -> dict[str, Any]:
    """The page's whole state; it would take what is missing from the reader's last visit."""
    return {
        "searchFilter": search,
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"tags.`{VARIANT_TAG}`", "tags.`verdict`", "attributes.`Dataset`"],
        "runsHiddenMode": "SHOW_ALL",
        "runsVisibilityMap": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsExpanded": {},
        "groupsExpanded": {},
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": VARIANT_TAG}],
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
    title: str, experiment_id: str, groups: Iterable[GroupCharts], standings: Sequence[Standing]
) -> str:
    """The experiment's description, in Markdown: links to every view, and the leaderboard."""
    links = [f"[{escaped(s.name)}]({address('', experiment_id, s.view)[1:]})" for s in groups]
    overview = address("", experiment_id, OVERVIEW)[1:]
    parts = [
        f"**{escaped(title)}**",
        f"[Overview: variants compared, means over seeds]({overview})",
        f"Seed by seed: {', '.join(links)}",
    ]
    if standings:
        parts.append(markdown_table([compact_row(standing) for standing in standings]))
    return "\n\n".join(parts)
