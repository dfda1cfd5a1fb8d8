"""The report's numbers for programs: Parquet and JSON, with their meaning in them.

``runs.parquet``   one row a run
``rows.parquet``   one row a point of a run's curves
``results.json``   verdicts, runs and their validation curves, with the meaning of every field

`SCHEMA_VERSION` goes up when a field changes its meaning or goes away; new fields do not change
it. Parquet files carry it and the fields' meaning in their metadata.
"""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.verdicts.results import EndedRun
from dyt_bench.verdicts.standings import Standing
from dyt_bench.verdicts.statistics import SpeedComparison

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2  # 2: results.json has no curves of training, rows.parquet has them

RUN_FIELDS = {
    "identity": "hash of all that decides the run's outcome",
    "variant": "native, or the layer that stood in its place, with its options",
    "domain": "kind of model and data",
    "model": "architecture, as its domain names it",
    "dataset": "data set, as its domain names it",
    "path": "the user's own data, for data sets that take some",
    "seed": "of weights and of the order of batches",
    "steps": "optimiser steps, the budget",
    "batch_size": "samples a step",
    "learning_rate": "peak, after warm-up",
    "training": "training recipe, as its domain names it",
    "train_samples": "at most so many to train on; empty: all",
    "val_every": "steps between two validations",
    "metrics": "that packages add, taken at the end",
    "alpha_init_value": "alpha at the start, where a suite sets it",
    "recipe": "how the variant was swapped and started",
    "status": "finished, diverged or failed",
    "reason": "why, when not finished",
    "not_comparable": "why the run is left out of verdicts; empty where it is not",
    "started": "seconds since the epoch",
    "ended": "seconds since the epoch",
    "digest/code": "workload version: sources and versions of what computes the result",
    "digest/variant": "code of a variant or recipe that a package adds",
    "digest/data": "content of the data set's files",
    "digest/weights": "weights at the start, the norms' apart",
    "digest/batches": "training batches, in their order",
    "first/*": "validation metrics before training",
    "best/*": "validation metrics where the domain's metric was best",
    "last/*": "validation metrics at the end of the budget",
    "model/parameters": "learnable numbers",
    "model/norms_replaced": "norms that are no longer the library's",
    "memory/peak_mib": "most memory held: the allocator's on a GPU, the process's elsewhere; MiB",
    "time/step_ms_median": "a training step alone, loading and validation left out; ms",
    "time/step_ms_q1": "lower quartile of the same; ms",
    "time/step_ms_q3": "upper quartile of the same; ms",
    "time/units_per_s": "the domain's units (images, tokens) trained on in a second",
    "time/train_s": "all training steps together; s",
    "time/step_ratio": "step time over the native norm's, steps taken in turn in one process",
    "time/step_ratio_*": "ends of its 95 % interval",
    "time/aa_ratio": "the native norm's step time over that of a copy of itself",
    "time/aa_ratio_*": "ends of its 95 % interval",
    "time/load_ms_median": "wait for a batch; ms",
    "time/load_share": "share of training's time spent waiting for batches",
    "reference/*": "what a simple method reaches in the metric",
    "eval/*": "further metrics, taken once at the end",
}
ROW_FIELDS = {
    "identity": "the run's, as in runs",
    "step": "optimiser steps done",
    "metric": "name, as the module logs it",
    "value": "in the metric's unit",
}
VERDICT_FIELDS = {
    "name": "domain/model, and what else tells groups apart",
    "variant": "the layer in place of the native norm",
    "metric": "the domain's, on validation data",
    "mode": "min or max: which direction of the metric is better",
    "margin": "differences within it are equivalent, in the metric's unit",
    "seeds": "those that both variants finished",
    "diverged": "seeds at which the native norm finished and this one did not",
    "at_budget": "judged by the value at the end of the budget",
    "at_best": "judged by each run's own best validation",
    "*/native": "mean over seeds",
    "*/value": "mean over seeds",
    "*/gain": "mean over seeds of the paired difference; positive where the variant is better",
    "*/interval": "95 % t-interval of the gain; null from one seed",
    "*/bootstrap": "95 % BCa bootstrap interval of the gain; null below 12 seeds",
    "*/p": "two-sided sign-flip test; null below 6 seeds",
    "*/verdict": "better, worse, equivalent or undetermined",
    "*/seeds_needed": "seeds that would decide with 80 % power; null if decided or not known",
    "steps_to_quality": "median steps to the value the native norm ends with; null: not reached",
    "native_steps_to_quality": "the native norm's own",
    "time_to_quality": "time to that value over the native norm's; null: not reached or not timed",
    "speed": "step time over the native norm's: ratio with 95 % interval, the same of the native "
    "variant to itself (aa), the floor below which nothing is claimed, rounds, and the word",
    "expected": "variant -> what a source reports, of which metric, and the source; or null",
    "reference": "what a simple method reaches",
}


def write_data(
    title: str, runs: Sequence[EndedRun], standings: Sequence[Standing], folder: Path
) -> None:
    """Write the three files into ``folder``."""
    import pyarrow.parquet as pq

    tables = {
        "runs": (_table(runs), RUN_FIELDS),
        "rows": (_points(runs), ROW_FIELDS),
    }
    for name, (table, fields) in tables.items():
        meaning = {"dyt_bench.schema": str(SCHEMA_VERSION), "dyt_bench.fields": json.dumps(fields)}
        table = table.replace_schema_metadata(meaning)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    content = {
        "schema": {
            "version": SCHEMA_VERSION,
            "runs": RUN_FIELDS,
            "curves": "of each run: validation metric -> steps and values; rows.parquet has all",
            "verdicts": VERDICT_FIELDS,
        },
        "title": title,
        "verdicts": [_plain(verdict(standing)) for standing in standings],
        "runs": [{**_plain(run_fields(run)), "curves": _curves(run)} for run in runs],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    # A line a run: differences between two results can be read.
    (folder / "results.json").write_text(text.replace(',{"identity"', ',\n{"identity"') + "\n")


def run_fields(run: EndedRun) -> dict[str, Any]:
    """A run as one flat row: `RUN_FIELDS`."""
    result = run.result
    facts = {f"digest/{key}": result.facts.get(key, "") for key in ("weights", "batches")}
    digests = {f"digest/{key}": value for key, value in run.about["digests"].items()}
    parameters = {k: v for k, v in run.parameters.items() if not k.endswith("_digest")}
    return {
        "identity": run.identity,
        **parameters,
        "status": result.status,
        "reason": result.reason,
        "not_comparable": run.not_comparable,
        "started": result.started,
        "ended": result.ended,
        **digests,
        **facts,
        **{f"first/{key}": value for key, value in result.first.items()},
        **{f"best/{key}": value for key, value in result.best.items()},
        **{f"last/{key}": value for key, value in result.last.items()},
        **result.summary,
    }


def verdict(standing: Standing) -> dict[str, Any]:
    """A line of the leaderboard in full: `VERDICT_FIELDS`."""
    metric = standing.metric
    return {
        "name": standing.name,
        "variant": standing.variant,
        "metric": metric.name,
        "mode": metric.mode,
        "margin": metric.margin,
        "seeds": list(standing.seeds),
        "diverged": standing.diverged,
        **{
            when: {
                "native": native,
                "value": value,
                "gain": judged.gain,
                "interval": judged.interval,
                "bootstrap": judged.bootstrap,
                "p": judged.p,
                "verdict": judged.verdict,
                "seeds_needed": judged.seeds_needed,
            }
            for when, native, value, judged in (
                ("at_budget", standing.native, standing.value, standing.comparison),
                ("at_best", standing.native_best, standing.value_best, standing.best),
            )
        },
        "steps_to_quality": standing.value_steps,
        "native_steps_to_quality": standing.native_steps,
        "time_to_quality": standing.time_to_quality,
        "speed": None if standing.speed is None else _speed(standing.speed),
        "expected": standing.expected
        and {
            "values": dict(standing.expected),
            "metric": standing.expected_metric or metric.name,
            "source": standing.source,
        },
        "reference": standing.reference,
    }


def _speed(speed: SpeedComparison) -> dict[str, Any]:
    return {
        "ratio": speed.ratio._asdict(),
        "aa": speed.aa._asdict(),
        "floor": speed.floor,
        "rounds": speed.rounds,
        "word": speed.word,
    }


def _table(runs: Sequence[EndedRun]) -> "pa.Table":
    import pyarrow as pa

    flat = [run_fields(run) for run in runs]
    names = dict.fromkeys(name for row in flat for name in row)
    return pa.table({name: pa.array([row.get(name) for row in flat]) for name in names})


def _points(runs: Sequence[EndedRun]) -> "pa.Table":
    """Long form; identities and metrics by number, as half a million strings would take long."""
    import pyarrow as pa

    numbers: dict[str, int] = {}  # of metrics, by order of appearance
    identities, steps, metrics, values = array("i"), array("q"), array("i"), array("d")
    for index, run in enumerate(runs):
        for metric, points in run.curves.items():
            number = numbers.setdefault(metric, len(numbers))
            identities.extend([index] * len(points))
            metrics.extend([number] * len(points))
            steps.extend(int(step) for step, _ in points)
            values.extend(value for _, value in points)
    named = [run.identity for run in runs]
    return pa.table(
        {
            "identity": pa.DictionaryArray.from_arrays(
                pa.array(identities, pa.int32()), pa.array(named, pa.string())
            ),
            "step": pa.array(steps, pa.int64()),
            "metric": pa.DictionaryArray.from_arrays(
                pa.array(metrics, pa.int32()), pa.array(list(numbers), pa.string())
            ),
            "value": pa.array(values, pa.float64()),
        }
    )


def _curves(run: EndedRun) -> dict[str, dict[str, list[float] | list[int]]]:
    return {
        name: {
            "steps": [int(step) for step, _ in points],
            "values": [float(f"{value:.6g}") for _, value in points],
        }
        for name, points in run.curves.items()
        if name.startswith("val/")  # a point a step would be most of a file to be read
    }


def _plain(value: Any) -> Any:
    """As JSON has it: six significant digits, and null where a number is not finite."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
