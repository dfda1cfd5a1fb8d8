"""Interleaving and quantiles."""

from itertools import permutations

from dyt_bench.training.clock import interleave, quartiles


def test_variants_take_turns_in_every_order():
    calls = []

    def variant(name):
        def run():
            calls.append(name)
            return float(len(calls))

        return run

    seconds = interleave({name: variant(name) for name in "abc"}, rounds=40)
    rounds = [tuple(calls[i : i + 3]) for i in range(0, 120, 3)]
    assert set(rounds) == set(permutations("abc"))
    assert all(calls[int(turn) - 1] == name for name in seconds for turn in seconds[name])
    again = [*calls]
    calls.clear()
    interleave({name: variant(name) for name in "abc"}, rounds=40)
    assert calls == again


def test_quartiles():
    assert quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)
    assert quartiles([7.0]) == (7, 7, 7)


def test_peak_memory_counts_what_was_held():
    import torch

    from dyt_bench.training.clock import peak_memory_mib

    before = peak_memory_mib(torch.device("cpu"))
    held = torch.ones(100 * 2**18)  # 100 MiB
    assert peak_memory_mib(torch.device("cpu")) >= before
    assert peak_memory_mib(torch.device("cpu")) > held.numel() * 4 / 2**20
