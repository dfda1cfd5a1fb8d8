"""The harness: suite -> runs -> records -> verdicts -> report. Plug-ins import `plugin`."""
