"""`--shrink`: a suite made small enough to be tried here, on the same way through the code.

Models, data sets and presets give their places to the small ones that the catalogue names; what a
suite chooses beside (variants and their recipes, presets, rates, strategy) stays. Steps, samples,
devices and seeds are cut to the fewest that still have a second of each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from dyt_bench.discovery.domains import Discovery
from dyt_bench.plugin.domain import Domain
from dyt_bench.suite.schema import SuiteFile, TaskEntry

STEPS = 4
DEVICES = 2
MICRO_BATCH = 2  # samples; mixup takes them in pairs
PARTS = 2  # micro-batches of a process, so that gradients are accumulated
SUFFIX = "-shrunk"  # of the suite's name: its report and experiment are not the suite's own
_MOST_NAME = 60

Entries = list[tuple[int, TaskEntry]]  # with their places in the file


def shrunk(
    file: SuiteFile, entries: Entries, found: Discovery, *, devices: int, nodes: int
) -> tuple[SuiteFile, Entries, list[str]]:
    """The suite and its entries made small, and what was done in sentences.

    Args:
        devices, nodes: most that a run may take.
    """
    small, said = [], []
    for index, entry in entries:
        domain = found.domains.get(entry.domain)
        for model in entry.models or ([next(iter(domain.models))] if domain else [""]):
            one, sentence = _entry(file, entry, model, domain, (devices, nodes))
            small.append((index, one))
            said.append(sentence)
    change = {
        "name": file.name[: _MOST_NAME - len(SUFFIX)] + SUFFIX,
        "title": f"{file.title or file.name}, shrunk: a trial, no result",
        "seeds": file.seeds[:1],
    }
    if any(entry.expected for _, entry in entries):
        said.append("what papers report is left out: it is not of these runs")
    return file.model_copy(update=change), small, list(dict.fromkeys(said))


def _entry(
    file: SuiteFile, entry: TaskEntry, name: str, domain: Domain | None, most: tuple[int, int]
) -> tuple[TaskEntry, str]:
    """An entry with one model, made small. Names that are not known stay, and are told later."""
    if domain is None or name not in domain.models:
        return entry, f"{entry.domain}: nothing, as it is not known"
    model = domain.models[name]
    training = entry.training or model.training
    sets = entry.datasets or [next(iter(domain.datasets))]
    division = _division(file, entry, entry.batch_size or model.batch_size, most)
    steps = entry.steps or file.steps or model.steps
    given: dict[str, Any] = {
        "models": [model.small or name],
        "datasets": list(dict.fromkeys(_small(domain.datasets, each) for each in sets)),
        "training": _small(domain.trainings, training),
        "steps": min(steps, STEPS),
        "seeds": entry.seeds and entry.seeds[:1],
        "val_every": None,
        "expected": {},
        "expected_metric": "",
        "source": "",
        **division,
    }
    if entry.tuning is None and entry.learning_rate is None:
        given["learning_rate"] = model.learning_rate
    if entry.tuning is not None:
        given["tuning"] = entry.tuning.model_copy(update={"seeds": entry.tuning.seeds[:1]})
    if not any(_takes_path(domain, each) for each in given["datasets"]):
        given["path"] = None
    small = entry.model_copy(update=given)
    before = {
        "devices": (entry.devices or file.devices) * (entry.nodes or file.nodes),
        "micro_batch": entry.micro_batch or file.micro_batch,
        "batch_size": entry.batch_size or model.batch_size,
    }
    changes = [
        *_changed("", [name], small.models),
        *_changed("", sets, small.datasets),
        *_changed("preset ", [training], [given["training"]]),
        *_fewer("steps", steps, given["steps"]),
        *_fewer("samples a step", before["batch_size"], division["batch_size"]),
        *_fewer("devices", before["devices"], division["devices"] * division["nodes"]),
        *_fewer("samples at once", before["micro_batch"], division["micro_batch"]),
    ]
    return small, f"{entry.domain}: {', '.join(changes) or 'nothing'}"


def _division(
    file: SuiteFile, entry: TaskEntry, batch: int, most: tuple[int, int]
) -> dict[str, Any]:
    """Fewer devices, and on each at most `PARTS` small parts of a smaller batch."""
    own, all_nodes = entry.devices or file.devices, entry.nodes or file.nodes
    before, nodes = own * all_nodes, min(all_nodes, most[1])
    devices = min(own, max(1, DEVICES // nodes), most[0])
    micro = entry.micro_batch or file.micro_batch
    at_once = micro if isinstance(micro, int) else 1
    parts = max(1, batch // before // at_once)
    if isinstance(micro, int):
        at_once = micro = min(micro, MICRO_BATCH)
        parts = min(parts, PARTS)
    parts = min(parts, MICRO_BATCH * PARTS)
    batch = devices * nodes * at_once * parts
    return {"devices": devices, "nodes": nodes, "micro_batch": micro, "batch_size": batch}


def _small(table: Mapping[str, Any], name: str) -> str:
    """What stands in for the entry called ``name``; itself where nothing does."""
    return getattr(table.get(name), "small", "") or name


def _takes_path(domain: Domain, name: str) -> bool:
    return name not in domain.datasets or domain.datasets[name].takes_path


def _changed(what: str, before: list[str], after: list[str] | None) -> Iterator[str]:
    if after and after != before:
        yield f"{what}{' and '.join(after)} for {' and '.join(before)}"


def _fewer(what: str, before: int | str | None, after: int | str | None) -> Iterator[str]:
    if after != before:
        yield f"{after:,} of {before:,} {what}"
