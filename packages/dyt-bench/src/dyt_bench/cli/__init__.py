"""The command line: each command parses, calls and prints."""

from dyt_bench.cli import data, finetuning, inspection, packages, suites, tracking
from dyt_bench.cli.group import main

__all__ = ["data", "finetuning", "inspection", "main", "packages", "suites", "tracking"]
