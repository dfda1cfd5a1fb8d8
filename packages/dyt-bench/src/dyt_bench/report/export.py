"""The report's numbers for programs: Parquet and JSON files that explain their own fields.

``runs.parquet``   a row for each run
``rows.parquet``   a row for each point of a run's curves
``results.json``   verdicts, runs and their validation curves, with the meaning of every field

`SCHEMA_VERSION` is raised when a field changes its name or meaning or is removed, not for new
fields. Parquet files have it and the fields' meaning in their metadata.
"""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.verdicts.runs import EndedRun
from dyt_bench.verdicts.speed import SpeedComparison
from dyt_bench.verdicts.standings import Standing

if TYPE_CHECKING:
    import pyarrow as pa

# 2: training curves are in rows.parquet alone.
# 3: "norm" is now "variant", and "native" of a verdict is "baseline".
SCHEMA_VERSION = 4

RUN_FIELDS = {
    "identity": "hash of everything that determines the run's outcome",
    "variant": "native, or the layer that replaced the norm layers, with its options",
    "domain": "kind of model and data",
    "model": "architecture, as its domain names it",
    "dataset": "data set, as its domain names it",
    "checkpoint": "folder of the user's own model, for models that start from one",
    "options": "the data set's own options, as JSON",
    "path": "folder or file of the user's own data, for data sets that read one",
    "seed": "of weights and of the order of batches",
    "steps": "the budget, in optimiser steps",
    "batch_size": "samples in a step",
    "learning_rate": "peak, after warm-up",
    "training": "training preset, as its domain names it",
    "train_samples": "most samples to train on; empty: all",
    "val_every": "steps between two validations",
    "skip_bad_files": "whether files that cannot be read are left out",
    "metrics": "metrics that packages add, taken at the end",
    "alpha_init_value": "alpha at the start, if the suite sets it",
    "recipe": "how the layers were swapped and started, if the suite names a recipe",
    "status": "finished, diverged or failed",
    "reason": "why the run did not finish",
    "notices": "what was left out, clipped or guessed of the data; a line each",
    "not_comparable": "why the run is left out of verdicts; empty if it is not",
    "started": "seconds since the epoch",
    "ended": "seconds since the epoch",
    "cpu": "the processor's name",
    "python": "version of Python",
    "torch": "version of PyTorch",
    "device": "that trained: cpu, or the accelerator's name",
    "digest/code": "workload version: sources and versions of the code that computes the result",
    "digest/preset": "values of the training preset",
    "digest/variant": "code of a variant or recipe that a package adds",
    "digest/data": "content of the data set's files",
    "digest/checkpoint": "content of the pretrained model's files",
    "digest/weights": "weights at the start, except those of norm layers and replacements",
    "digest/batches": "training batches, in order",
    "first/*": "validation metrics before training",
    "best/*": "validation metrics at the validation where the domain's metric was best",
    "last/*": "validation metrics at the end of the budget",
    "model/parameters": "learnable numbers",
    "model/norms_replaced": "norm layers that were replaced",
    "data/samples": "training samples that batches are drawn from; empty: a stream",
    "memory/peak_mib": (
        "most memory held: the allocator's on a GPU, elsewhere the training process's, without "
        "worker processes of its loaders, whose memory depends on the data alone; MiB"
    ),
    "time/step_ms_median": "a training step without loading and validation; ms",
    "time/step_ms_q1": "lower quartile of the same; ms",
    "time/step_ms_q3": "upper quartile of the same; ms",
    "time/units_per_s": "the domain's units (images, tokens) trained on per second",
    "time/train_s": "all training steps together; s",
    "time/step_ratio": "step time over the baseline's, steps taken in turn in one process",
    "time/step_ratio_*": "ends of its 95 % interval",
    "time/aa_ratio": "the baseline's step time over that of a copy of itself",
    "time/aa_ratio_*": "ends of its 95 % interval",
    "time/load_ms_median": "wait for a batch; ms",
    "time/load_share": "share of training's time spent waiting for batches",
    "blind/*": "what is reached in the metric without looking at the input",
    "reference/*": "what a modest method reaches in the metric",
    "strong/*": "what the strongest of the simple methods reaches in the metric",
    "eval/*": "further metrics, taken once at the end",
}
ROW_FIELDS = {
    "identity": "the run's, as in runs",
    "step": "optimiser steps done",
    "metric": "name, as the module logs it",
    "value": "in the metric's unit",
}
VERDICT_FIELDS = {
    "name": "domain/model, and in what else groups differ",
    "variant": "the layer that replaced the norm layers, with its options",
    "metric": "the domain's, on validation data",
    "mode": "min or max: which direction of the metric is better",
    "seeds": "those that baseline and variant both finished, without collapsed runs",
    "collapses": "runs that diverged or ended no better than the blind score, of the variant and "
    "of the baseline, out of how many, with Fisher's exact test of equal rates",
    "at_budget": "judged by the value at the end of the budget",
    "at_best": "judged by each run's own best validation",
    "*/baseline": "mean over seeds of the baseline's metric",
    "*/value": "mean over seeds of the variant's metric",
    "*/gain": "mean over seeds of the paired difference; positive where the variant is better",
    "*/interval": "95 % t-interval of the gain; null from one seed",
    "*/margin": "a gain within it does not matter; in the metric's unit",
    "*/gains": "of each seed",
    "*/bootstrap": "95 % BCa bootstrap interval of the gain; null below 12 seeds",
    "*/p": "two-sided paired t-test of no difference, for itself alone; null below 3 seeds",
    "*/p_within": "two one-sided t-tests of a gain beyond the margin; null below 3 seeds",
    "*/verdict": "better, worse, equivalent, undetermined, too little learned or still learning; "
    "allows for the number of comparisons on the page",
    "*/within": "whether the gain is shown to lie within the margin",
    "*/seeds_needed": "seeds that would decide with 80 % power; null if decided or not known",
    "steps_to_quality": "median steps to the baseline's value at the end; null: not reached",
    "baseline_steps_to_quality": "the baseline's own",
    "time_to_quality": "time to that value over the baseline's; null: not reached or not timed",
    "speed": "step time over the baseline's: ratio with 95 % interval, the same of the baseline to "
    "itself (aa), the floor below which no difference is claimed, builds, and the word; ends are "
    "null for one build",
    "compiled_speed": "the same under torch.compile; null if not timed so",
    "expected": "variant -> what a paper reports, of which metric, and the paper; or null",
    "blind": "the score without looking at the input; null: not known",
    "reference": "the reference score: what a simple method reaches",
    "strong": "what a better simple method reaches",
    "share": "the gain at the end of the budget, of what the baseline gained over the blind score",
}


def write_data(
    title: str, runs: Sequence[EndedRun], standings: Sequence[Standing], folder: Path
) -> None:
    """Write the three files into ``folder``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = {
        "runs": (_table(runs), RUN_FIELDS),
        "rows": (_points(runs), ROW_FIELDS),
    }
    for name, (table, fields) in tables.items():
        meaning = {"dyt_bench.schema": str(SCHEMA_VERSION), "dyt_bench.fields": json.dumps(fields)}
        table = table.replace_schema_metadata(meaning)
        floats = [one.name for one in table.schema if pa.types.is_floating(one.type)]
        # Bytes of equal place side by side, so that what curves have in common is packed: two
        # thirds of the size.
        pq.write_table(
            table,
            folder / f"{name}.parquet",
            compression="zstd",
            compression_level=19,
            use_dictionary=[n for n in table.column_names if n not in floats],
            use_byte_stream_split=floats,
        )
    (folder / "results.json").write_text(as_json(title, runs, standings))


def as_json(title: str, runs: Sequence[EndedRun], standings: Sequence[Standing]) -> str:
    """The text of ``results.json``, with a line a run, so that diff can compare two results."""
    content = {
        "schema": {
            "version": SCHEMA_VERSION,
            "runs": RUN_FIELDS,
            "curves": "of each run: validation metric -> steps and values; rows.parquet has all",
            "verdicts": VERDICT_FIELDS,
        },
        "title": title,
        "verdicts": [_plain(verdict(standing)) for standing in standings],
        "runs": [
            {**_plain(run_fields(run)), **_times(run), "curves": _curves(run)} for run in runs
        ],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace(',{"identity"', ',\n{"identity"') + "\n"


def run_fields(run: EndedRun) -> dict[str, Any]:
    """A run as one flat row with the fields of `RUN_FIELDS`."""
    result = run.result
    facts = {f"digest/{key}": result.facts.get(key, "") for key in ("weights", "batches")}
    digests = {f"digest/{key}": value for key, value in run.about["digests"].items()}
    parameters = {k: v for k, v in run.parameters.items() if not k.endswith("_digest")}
    return {
        "identity": run.identity,
        **parameters,
        "status": result.status,
        "reason": result.reason,
        "notices": "\n".join(result.notices),
        "not_comparable": run.not_comparable,
        "started": result.started,
        "ended": result.ended,
        **{key: run.about["environment"].get(key, "") for key in ("cpu", "python", "torch")},
        "device": result.facts.get("device", ""),
        **digests,
        **facts,
        **{f"first/{key}": value for key, value in result.first.items()},
        **{f"best/{key}": value for key, value in result.best.items()},
        **{f"last/{key}": value for key, value in result.last.items()},
        **result.summary,
    }


def verdict(standing: Standing) -> dict[str, Any]:
    """A standing in full, with the fields of `VERDICT_FIELDS`."""
    metric = standing.metric
    return {
        "name": standing.name,
        "variant": standing.variant,
        "metric": metric.name,
        "mode": metric.mode,
        "seeds": list(standing.seeds),
        "collapses": {**asdict(standing.collapses), "p": standing.collapses.p},
        **{
            when: {
                "baseline": baseline,
                "value": value,
                "gain": judged.gain,
                "interval": judged.interval,
                "margin": judged.margin,
                "gains": list(judged.gains),
                "bootstrap": judged.bootstrap,
                "p": judged.p,
                "p_within": judged.p_within,
                "verdict": judged.verdict,
                "within": judged.within,
                "seeds_needed": judged.seeds_needed,
            }
            for when, baseline, value, judged in (
                ("at_budget", standing.baseline_last, standing.variant_last, standing.comparison),
                ("at_best", standing.baseline_best, standing.variant_best, standing.best),
            )
        },
        "steps_to_quality": standing.variant_steps,
        "baseline_steps_to_quality": standing.baseline_steps,
        "time_to_quality": standing.time_to_quality,
        "speed": _speed(standing.speed),
        "compiled_speed": _speed(standing.compiled_speed),
        "expected": standing.expected
        and {
            "values": dict(standing.expected),
            "metric": standing.expected_metric or metric.name,
            "source": standing.source,
        },
        "blind": standing.blind,
        "reference": standing.reference,
        "strong": standing.strong,
        "share": standing.share,
    }


def _speed(speed: SpeedComparison | None) -> dict[str, Any] | None:
    if speed is None:
        return None
    return {
        "ratio": speed.ratio._asdict(),
        "aa": speed.aa._asdict(),
        "floor": speed.floor,
        "builds": speed.builds,
        "word": speed.word,
    }


def _table(runs: Sequence[EndedRun]) -> "pa.Table":
    import pyarrow as pa

    flat = [run_fields(run) for run in runs]
    names = dict.fromkeys(name for row in flat for name in row)
    return pa.table({name: pa.array([row.get(name) for row in flat]) for name in names})


def _points(runs: Sequence[EndedRun]) -> "pa.Table":
    """The points in long form; identities and metrics as dictionary columns, which is faster."""
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
        if name.startswith("val/")  # training has a point a step: too long for a file to read
    }


def _times(run: EndedRun) -> dict[str, float | None]:
    """Start and end, which six digits would make one and the same."""
    times = {"started": run.result.started, "ended": run.result.ended}
    return {name: value if math.isfinite(value) else None for name, value in times.items()}


def _plain(value: Any) -> Any:
    """A value for JSON: null for numbers that are not finite, six significant digits of others."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
