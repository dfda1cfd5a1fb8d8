"""The files of each data set: where they are looked for, and how they are fetched."""

import sysconfig
from pathlib import Path

import pytest

from dyt_bench.plugin.domain import DataError
from dyt_llm import domain


def test_the_library_is_the_public_one_and_of_the_promised_size() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    files = domain.datasets["stdlib"].files(None)
    assert 3e6 < sum(file.stat().st_size for file in files) < 8e6
    tops = {file.relative_to(root).parts[0] for file in files}
    assert {"typing.py", "asyncio", "json"} <= tops
    assert not tops & {"test", "idlelib", "lib2to3", "site-packages", "sitecustomize.py"}
    assert files == sorted(set(files))


def test_a_python_without_sources_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="holds no"):
        domain.datasets["stdlib"].files(None)


@pytest.mark.parametrize("name", ["stdlib-gpt2", "shakespeare", "openwebtext"])
def test_what_is_not_fetched_is_named(name: str) -> None:
    with pytest.raises(DataError, match=f"dyt-bench data fetch llm/{name}"):
        domain.datasets[name].files(None)


def test_openwebtext_is_the_librarys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    load = domain.datasets["openwebtext"].fetch.load
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'dyt-llm\[hub\]'"):
        load(tmp_path)

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=unreachable))
    with pytest.raises(
        DataError, match=r"no route; is there a network\? The same command tries again"
    ):
        load(tmp_path)
