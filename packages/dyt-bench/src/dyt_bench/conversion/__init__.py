"""The libraries' models by name, and what a swap would do to them: `dyt-bench convert`."""
