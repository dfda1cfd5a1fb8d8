"""Views of a suite in MLflow's UI, and the experiment's description with links to them.

A view is an experiment tag from which MLflow's page reads its state. The tag's format is not
documented: the tests open the page in a browser and check that the charts are there.
"""

import base64
import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dyt_bench.errors import printable
from dyt_bench.tracking.parts import TAG, TAG_LIMIT, Group, Part, all_groups, packed, parts
from dyt_bench.tracking.store import (
    GROUP_TAG,
    KIND_TAG,
    MEMBER_TAG,
    NOTE_TAG,
    PLACE_TAG,
    VARIANT_TAG,
    WORKSPACE_TAG,
    Store,
)
from dyt_bench.verdicts.words import escaped, markdown_table

OVERVIEW = "overview"
_TAG = "mlflow.sharedViewState."
_SECTIONS = ("result", "learning curves", "cost", "diagnostics")
_SMOOTH = {"lineSmoothness": 40}  # the loss of single batches is noisy


def address(base: str, experiment_id: str, view: str | None) -> str:
    """The address of a view on the server at ``base``; of all charts if ``view`` is None."""
    query = "workflowType=machine_learning&compareRunsMode=CHART"
    if view is not None:
        query += f"&viewStateShareKey={view}"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def publish(store: Store, part: Part) -> None:
    """Write what one workspace has, and from what all have the views and the description."""
    identity = store.experiment_id
    tags = {f"{TAG}{part.workspace}": packed(part)}
    there = {key: str(text) for key, text in store.client.get_experiment(identity).tags.items()}
    every = parts({**there, **tags})
    tags |= {f"{_TAG}{name}": _pack(name, state) for name, state in _views(every).items()}
    tags[NOTE_TAG] = _note(identity, every)
    # Without this tag MLflow opens its page for language model applications.
    tags["mlflow.experimentKind"] = "custom_model_development"
    for key, value in tags.items():
        if len(value) <= TAG_LIMIT:
            store.client.set_experiment_tag(identity, key, printable(value))


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
    charts = [_of(s, _bar, "result", s.metric) for s in groups]
    charts += [_of(s, _line, "curves", s.metric) for s in groups]
    charts += [{**_of(s, _line, "curves", "train/loss"), **_SMOOTH} for s in groups]
    charts += [_of(s, _bar, "cost", "step time ratio") for s in groups]
    charts += [_of(s, _bar, "cost", "peak memory MiB") for s in groups]
    charts += [_of(s, _line, "diagnostics", "alpha by layer") for s in groups]
    charts += [_of(s, _line, "diagnostics", "saturated share by layer") for s in groups]
    hidden = [f"summary/{name}" for name in _PROGRAMS]
    for s in groups:
        hidden += [s.key("result", f"{s.metric} at best")]
        hidden += [s.key("cost", name) for name in ("step time ms", "throughput units per s")]
    charts += [{**_bar(name, "result"), "deleted": True} for name in hidden]
    return _state(f"tags.{KIND_TAG} = 'summary'{which}", charts, by)


def _of(
    group: Group, chart: Callable[[str, str], dict[str, Any]], section: str, metric: str
) -> dict[str, Any]:
    """A chart of a group's own metric."""
    shown_in = {"curves": "learning curves"}.get(section, section)
    return chart(group.key(section, metric), shown_in)


# Metrics with the same name in every summary, for programs and for MLflow's table.
_PROGRAMS = ("mean", "least", "most", "seeds", "gain", "gain_low", "gain_high", "step_ratio")


def _runs(group: Group, by: str, which: str = "") -> dict[str, Any]:
    """The runs of one group, grouped by a tag: lines are means over seeds."""
    metric = group.metric
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
    return _state(search + which, charts, by)


def _quoted(name: str) -> str:
    """A string of MLflow's filters, which know no escapes: the other quotes where it has some."""
    return f'"{name}"' if "'" in name else f"'{name}'"


def _state(search: str, charts: list[dict[str, Any]], by: str) -> dict[str, Any]:
    """The page's whole state; it would take what is missing from the reader's last visit."""
    return {
        "searchFilter": search,
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"tags.`{by}`", "tags.`verdict`", "attributes.`Dataset`"],
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
                "uuid": name,
                "name": name,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
                "columns": 2,  # of three, titles are cut behind the section's name
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


def _note(identity: str, every: Sequence[Part]) -> str:
    """The experiment's description, in Markdown: links to every view, and the leaderboards."""
    titles = dict.fromkeys(escaped(part.title) for part in every)
    texts = [f"**{', '.join(titles)}**"]
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


def _links(identity: str, groups: Iterable[Group], end: str = "") -> list[str]:
    """Links to the overview and to every group's view, whose names have this end."""
    links = [f"[{escaped(s.name)}]({address('', identity, s.view + end)[1:]})" for s in groups]
    overview = address("", identity, OVERVIEW + end)[1:]
    return [
        f"[Overview: variants compared, means over seeds]({overview})",
        f"Seed by seed: {', '.join(links)}",
    ]
