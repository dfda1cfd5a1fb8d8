"""Rules about a domain's declaration, and about the cost of importing it."""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import ClassVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from dyt_bench.discovery.domains import flaw
from dyt_bench.errors import quoted
from dyt_bench.plugin.domain import Domain, Metric, Model, TrainingPreset
from dyt_bench.testing.checked import CheckedDomain
from dyt_bench.testing.rule import Broken, rule

HEAVY = ("torch", "lightning", "mlflow", "numpy")
IMPORT_S = 5.0  # generous: ours take a tenth of a second
_HANGS_S = 60.0
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*")  # it becomes a folder's name and a part of a label
_SCRIPT = """
import importlib, json, sys, time
sys.path[:] = {path!r}
before = time.perf_counter()
importlib.import_module({module!r})
seconds = time.perf_counter() - before
print(json.dumps([seconds, sorted(set({heavy!r}) & set(sys.modules))]))
"""


@rule(
    says="The object is a Domain whose fields have the types and values of "
    "dyt_bench.plugin.domain.",
    why="Suites, reports and MLflow read the fields, before and after anything trains.",
)
def contract(checked: CheckedDomain) -> None:
    problem = flaw(checked.domain)
    if problem is not None:
        raise Broken(
            f"The object {problem}.",
            "Let it be an instance of a subclass of Domain with every field filled in.",
        )
    problem = next(_problems(checked.domain), None)
    if problem is not None:
        raise Broken(problem, "Give the field what its line in dyt_bench.plugin.domain asks for.")


@rule(
    says=f"Importing the domain takes under {IMPORT_S:g} s, imports none of {', '.join(HEAVY)} "
    "and leaves no file behind.",
    why="`dyt-bench domains` and `plan` import every domain and must answer at once.",
    needs=(contract,),
)
def import_(checked: CheckedDomain) -> None:
    module = type(checked.domain).__module__
    script = _SCRIPT.format(path=sys.path, module=module, heavy=HEAVY)
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", script],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_HANGS_S,
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"After {_HANGS_S:g} s, import {module} had not ended.", _LATER) from None
        left = os.listdir(folder)
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise Broken(
            f"In a process of its own, import {module} failed: {said}.",
            "Let the module be importable by its name alone, without what ran before it.",
        )
    seconds, heavy = json.loads(done.stdout.splitlines()[-1])
    if heavy:
        raise Broken(f"Importing {module} imported {', '.join(heavy)}.", _LATER)
    if seconds > IMPORT_S:
        raise Broken(f"It took {seconds:.1f} s to import {module}.", _LATER)
    if left:
        raise Broken(
            f"In the working directory it left {', '.join(sorted(left))}.",
            "Write nothing on import.",
        )


_LATER = "Import and compute inside build_data and build_module, not at the top of the module."


def _problems(domain: Domain) -> Iterator[str]:
    """Sentences about wrong fields; only the first is sure, as others may follow from it."""
    yield from _wrong_types(domain, Domain, "The domain")
    yield from _wrong_types(domain.metric, Metric, "Its metric")
    parts = {
        "model": domain.models,
        "data set": domain.datasets,
        "training preset": domain.trainings,
    }
    for kind, named in parts.items():
        for key, value in named.items():
            if not _KEY.fullmatch(key):
                yield (
                    f"A {kind} is called {quoted(key)}: lower-case letters, digits, dots, "
                    "underscores and hyphens are expected."
                )
            yield from _wrong_types(value, type(value), f"The {kind} {quoted(key)}")
    for holder in ("summary", "unit"):
        if "\n" in getattr(domain, holder):
            yield f"The domain's {holder} has more than one line."
    if not (math.isfinite(domain.metric.margin) and domain.metric.margin >= 0):
        yield f"Its metric has the margin {domain.metric.margin}: at least 0 is expected."
    for key, model in domain.models.items():
        yield from _wrong_values(f"The model {quoted(key)}", model, domain.trainings)


def _wrong_values(who: str, model: Model, trainings: Mapping[str, TrainingPreset]) -> Iterator[str]:
    for field in ("steps", "batch_size", "learning_rate", "step_s", "reference_steps"):
        value = getattr(model, field)
        if value is not None and not (math.isfinite(value) and value > 0):
            yield f"{who} has {field} {quoted(value)}: a number above 0 is expected."
    if model.training not in trainings:
        known = ", ".join(trainings)
        yield f"{who} names the training preset {quoted(model.training)}: the domain has {known}."


def _wrong_types(owner: object, kind: type, who: str) -> Iterator[str]:
    """A sentence for each field of ``kind`` whose value in ``owner`` is not of its type."""
    for field, hint in get_type_hints(kind).items():
        if get_origin(hint) is ClassVar:
            (hint,) = get_args(hint)
        value = getattr(owner, field)
        try:
            TypeAdapter(hint).validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            at = "".join(f"[{quoted(part)}]" for part in first["loc"] if part != "function-plain")
            got = repr(first["input"])
            yield f"{who} has {field}{at} {got}: {first['msg'][0].lower()}{first['msg'][1:]}."
