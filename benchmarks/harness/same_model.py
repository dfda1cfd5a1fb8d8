"""Counts how often step timing calls a model faster or slower than itself.

A build is what a suite times for a seed: a process of its own, in which the native model and two
copies of it are built and trained for a step in turn. One copy stands for a variant, the other is
the A/A of every timing. Every three builds are judged as a suite of three seeds is.
"""

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from typing import Any

import click
import torch

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.task import Run, Task
from dyt_bench.training.step import time_variants
from dyt_bench.verdicts.speed import BUILDS_FROM, compare_speed

LIMIT = 0.05  # of the words
COPY = "copy"  # the label of the native model in a variant's place


def one_build(task: Task, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step, by label and round."""
    torch.set_num_threads(1)
    parts = resolve(Run(task=task))
    return time_variants({"native": parts, COPY: parts}, rounds=rounds)


def builds_of(domain: str, model: str, builds: int, rounds: int) -> list[Mapping[str, list[float]]]:
    """The timings of so many builds, one process after another."""
    offered = discover().domain(domain)
    about, dataset = offered.models[model], next(iter(offered.datasets))
    tasks = [
        Task(
            domain=domain,
            model=model,
            dataset=dataset,
            seed=seed,
            steps=about.steps,
            batch_size=about.batch_size,
            learning_rate=about.learning_rate,
            training=about.training,
            val_every=about.steps,
        )
        for seed in range(builds)
    ]
    alone = ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1)
    with alone as pool:
        return [pool.submit(one_build, task, rounds).result() for task in tasks]


def judged(timings: list[Mapping[str, list[float]]]) -> dict[str, Any]:
    """The ratio over all builds, and the share of threes of builds with a false word."""
    whole = compare_speed(timings, COPY)
    threes = [compare_speed(three, COPY).word for three in combinations(timings, BUILDS_FROM)]
    false = sum(word != "no difference" for word in threes)
    return {
        "builds": len(timings),
        "ratio": [round(value, 4) for value in whole.ratio],
        "A/A": [round(value, 4) for value in whole.aa],
        "word": whole.word,
        "false_words": round(false / len(threes), 4),
    }


@click.command(name="same-model")
@click.option("--builds", default=21, show_default=True, help="Of each model.")
@click.option("--rounds", default=30, show_default=True, help="Of each build.")
@click.argument("models", nargs=-1, metavar="DOMAIN/MODEL...")
def same_model(builds: int, rounds: int, models: tuple[str, ...]) -> None:
    """Print the share of false words by model; exit status 1 if it is over 5 % of all."""
    chosen = models or ("vision/vit", "llm/llama", "dna/hyena-w64")
    found = {}
    for name in chosen:
        domain, _, model = name.partition("/")
        found[name] = judged(builds_of(domain, model, builds, rounds))
        print(json.dumps({name: found[name]}), flush=True)
    false = sum(own["false_words"] for own in found.values()) / len(found)
    print(json.dumps({"false_words": round(false, 4), "limit": LIMIT}))
    sys.exit(false > LIMIT)
