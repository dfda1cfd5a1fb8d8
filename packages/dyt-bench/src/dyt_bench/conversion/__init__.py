"""Models of the libraries by name, and what a swap would do to them: `dyt-bench convert`."""
