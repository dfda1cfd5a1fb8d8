"""Measures the harness: its part of a step, of a report, of many runs; its pages; its errors."""

import click
from benchmarks.harness.busy import busy
from benchmarks.harness.forecast import forecast
from benchmarks.harness.overhead import overhead
from benchmarks.harness.pages import pages
from benchmarks.harness.report_time import report_time
from benchmarks.harness.same_model import same_model
from benchmarks.harness.scale import scale
from benchmarks.harness.slots import slots


@click.group(help=__doc__)
def main() -> None:
    pass


main.add_command(busy)
main.add_command(forecast)
main.add_command(overhead)
main.add_command(pages)
main.add_command(report_time)
main.add_command(same_model)
main.add_command(scale)
main.add_command(slots)

if __name__ == "__main__":
    main()
