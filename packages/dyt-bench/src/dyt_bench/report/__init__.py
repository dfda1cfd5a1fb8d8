"""Records -> tables, figures and a page. `write_report` does all of it."""

from dyt_bench.report.page import write_report as write_report
