"""Interleaving and quantiles."""

from dyt_bench.measure import interleave, quartiles


def test_arms_take_turns_and_the_order_alternates():
    calls = []

    def arm(name):
        def run():
            calls.append(name)
            return float(len(calls))

        return run

    seconds = interleave({"a": arm("a"), "b": arm("b")}, rounds=3)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert seconds == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_quartiles():
    assert quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)
    assert quartiles([7.0]) == (7, 7, 7)


def test_peak_memory_counts_what_was_held():
    import torch

    from dyt_bench.measure import peak_memory_mib

    before = peak_memory_mib(torch.device("cpu"))
    held = torch.ones(100 * 2**18)  # 100 MiB
    assert peak_memory_mib(torch.device("cpu")) >= before
    assert peak_memory_mib(torch.device("cpu")) > held.numel() * 4 / 2**20
