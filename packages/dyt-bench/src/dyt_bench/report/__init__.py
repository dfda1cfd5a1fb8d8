"""Verdicts and records -> tables, figures and pages; `write_report` does all of it."""

from dyt_bench.report.write import write_report as write_report
