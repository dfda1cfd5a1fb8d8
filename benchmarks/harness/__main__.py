"""Measures the harness itself: what it adds to a training step, and the time of a report."""

import click
from benchmarks.harness.overhead import overhead
from benchmarks.harness.report_time import report_time


@click.group(help=__doc__)
def main() -> None:
    pass


main.add_command(overhead)
main.add_command(report_time)

if __name__ == "__main__":
    main()
