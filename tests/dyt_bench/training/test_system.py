"""Samples of the machine."""

from dyt_bench.training.system import SystemMetrics


def test_a_sample_comes_when_it_is_due_and_not_before():
    assert SystemMetrics(every_s=3600).due() == {}
    sample = SystemMetrics(every_s=0).due()
    assert all(name.startswith("system/") for name in sample)
    assert 0 < sample["system/system_memory_usage_percentage"] <= 100
    assert sample["system/process_memory_mib"] > 1
