"""The harness: suite -> runs -> records -> verdicts -> report. Plug-ins import `plugin`."""

from dyt_bench.plugin.version1 import install

install()
