"""The command line: each command parses, calls and prints."""

from dyt_bench.cli import (
    completion,
    data,
    finetuning,
    inspection,
    merging,
    packages,
    suites,
    tracking,
    workspaces,
)
from dyt_bench.cli.group import main

__all__ = [
    "completion",
    "data",
    "finetuning",
    "inspection",
    "main",
    "merging",
    "packages",
    "suites",
    "tracking",
    "workspaces",
]
