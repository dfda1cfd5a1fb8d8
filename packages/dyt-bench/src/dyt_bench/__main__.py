"""`python -m dyt_bench`: the command `dyt-bench`."""

from dyt_bench.cli import main

if __name__ == "__main__":
    main(prog_name="dyt-bench")
