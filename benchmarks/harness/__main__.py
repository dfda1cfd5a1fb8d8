"""Measures the harness itself: its share of a step, the time of a report, false words on time."""

import click
from benchmarks.harness.overhead import overhead
from benchmarks.harness.report_time import report_time
from benchmarks.harness.same_model import same_model


@click.group(help=__doc__)
def main() -> None:
    pass


main.add_command(overhead)
main.add_command(report_time)
main.add_command(same_model)

if __name__ == "__main__":
    main()
