"""The harness: plan -> run -> record -> judge -> show. `dyt_bench.domain` is for plugin authors."""
