"""What is read of the processor's caches."""

import pytest

from dyt._kernels.cpu import caches

PARTS = ("level", "size", "shared_cpu_list")


def listing(folder, *listed):
    """A folder as Linux has it; each cache is its level, size and processors."""
    for index, values in enumerate(listed):
        cache = folder / f"index{index}"
        cache.mkdir()
        for part, value in zip(PARTS, values, strict=False):
            (cache / part).write_text(f"{value}\n")
    return folder


def test_a_shared_cache_counts_in_equal_parts(tmp_path):
    first, second = (1, "32K", "0"), (2, "1024K", "0,4")
    folder = listing(tmp_path, first, first, second, (3, "32M", "0-3,8-11"))
    assert caches.bytes_of_a_thread(folder) == (512 << 10) + (4 << 20)


@pytest.mark.parametrize(
    "odd", [(3, "32768K"), (3, "", "0"), (3, "all", "0"), ("", "1K", "0"), (3, "1K", "")]
)
def test_a_cache_that_is_listed_in_part_is_left_out(tmp_path, odd):
    assert caches.bytes_of_a_thread(listing(tmp_path, (2, "512K", "0"), odd)) == 512 << 10


def test_where_nothing_lists_them_none_is_counted_on(tmp_path):
    assert caches.bytes_of_a_thread(tmp_path / "none") == 0
