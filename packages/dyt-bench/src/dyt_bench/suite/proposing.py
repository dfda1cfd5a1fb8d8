"""A suite made from a checkpoint and data, as the domains propose it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.proposals import proposals
from dyt_bench.errors import CannotWrite, shortened
from dyt_bench.plugin.task import NATIVE
from dyt_bench.suite.document import slug, to_yaml

CALIBRATED, GRADUAL = "calibrated", "gradual"  # recipes


def propose_suite(
    found: Discovery,
    checkpoint: Path,
    data: Path,
    options: Mapping[str, str],
    *,
    head: str | None,
    variants: Sequence[str],
    gradual: bool,
    seeds: int,
    steps: int | None,
    name: str | None,
) -> dict[str, Any]:
    """The content of a suite file: native, and each variant plain, calibrated, perhaps gradual.

    Raises:
        UserError: as `proposals` does.
    """
    domain, proposed = proposals(found, checkpoint, data, options, head)[0]
    task = {"domain": domain.name, "checkpoint": str(checkpoint), "path": str(data), **proposed}
    if options:
        task["options"] = dict(options)
    if steps is not None:
        task["steps"] = steps
    entries: list[Any] = [NATIVE]
    for variant in variants:
        recipes = [CALIBRATED, GRADUAL] if gradual else [CALIBRATED]
        entries += [variant, *({"name": variant, "recipe": recipe} for recipe in recipes)]
    parts = [checkpoint.name, data.stem, options.get("label", "")]
    return {
        "name": slug(name or " ".join(parts)),
        "title": shortened(f"{checkpoint.name} fine-tuned on {data.name}"),
        "variants": entries,
        "seeds": list(range(seeds)),
        "tasks": [task],
    }


def write_suite(content: Mapping[str, Any], folder: Path) -> Path:
    """Write the suite into ``folder``, under its name.

    Raises:
        CannotWrite: the folder takes no file.
    """
    file = folder / f"{content['name']}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(to_yaml(content), encoding="utf-8")
    except OSError as error:
        raise CannotWrite(file, error) from error
    return file
