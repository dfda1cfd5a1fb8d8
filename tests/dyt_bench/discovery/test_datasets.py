"""Data sets that packages add: the domain reads them as its own."""

import pytest

from dyt_bench.discovery import datasets
from dyt_bench.discovery.datasets import as_read, dataset_of, datasets_of
from dyt_bench.discovery.domains import discover
from dyt_bench.errors import DataError, UserError
from dyt_bench.plugin.extensions import AddedDataset
from dyt_bench.plugin.fetch import Fetch
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task


@pytest.fixture(scope="module")
def vision():
    return discover().domain("vision")


@pytest.fixture
def add(monkeypatch):
    def added(domain="vision", reads_as="folder", **fields):
        made = AddedDataset(
            domain=domain, reads_as=reads_as, summary="s", source="o", licence="l", **fields
        )
        monkeypatch.setattr(datasets.DATASETS.__class__, "names", lambda _: ["mine"])
        monkeypatch.setattr(datasets.DATASETS.__class__, "load", lambda *_: made)

    return added


def test_it_stands_among_the_domains_own(vision, add, tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"picture")
    add(path=lambda: tmp_path)
    assert list(datasets_of(vision)) == [*vision.datasets, "mine"]
    dataset = dataset_of(vision, "mine")
    assert not dataset.takes_path
    assert list(dataset.files(None)) == [tmp_path / "cat" / "1.png"]
    assert digest_files(list(dataset.files(None)))
    assert dataset_of(vision, "digits") is vision.datasets["digits"]


def test_its_options_are_judged_by_its_own_files(add, tmp_path):
    (tmp_path / "t.csv").write_text("text,y\nab,1\n")
    add(domain="pretrained", reads_as="table", path=lambda: tmp_path)
    check = dataset_of(discover().domain("pretrained"), "mine").check_options
    check(None, {"label": "y"})
    with pytest.raises(DataError, match=r"t\.csv has no column 'z'"):
        check(None, {"label": "z"})


def test_the_domain_is_given_its_own_layout_and_a_path(vision, add, tmp_path):
    add(path=lambda: tmp_path)
    task = Task(
        domain="vision",
        model="vit",
        dataset="mine",
        steps=1,
        batch_size=1,
        learning_rate=1.0,
        val_every=1,
    )
    read = as_read(task, vision)
    assert (read.dataset, read.path) == ("folder", tmp_path)


def test_what_is_fetched_lies_where_fetch_puts_it(vision, add, tmp_path, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path))
    add(fetch=Fetch(size="1 MB", wheel="w==1"))
    with pytest.raises(DataError, match="get it with `dyt-bench data fetch vision/mine`"):
        dataset_of(vision, "mine").files(None)
    (tmp_path / "vision" / "mine" / "cat").mkdir(parents=True)
    (tmp_path / "vision" / "mine" / "cat" / "1.png").touch()
    assert len(list(dataset_of(vision, "mine").files(None))) == 1


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"domain": "dna"}, "data set 'mine' is for the domain 'dna', not for 'vision'"),
        ({"reads_as": "digits"}, "expected one of cifar10, imagenet, folder"),
    ],
)
def test_one_that_does_not_fit_is_said_and_not_offered(vision, add, fields, problem):
    add(**fields)
    with pytest.raises(UserError, match=problem):
        dataset_of(vision, "mine")
    assert "mine" not in datasets_of(vision)


def test_an_unknown_one_has_a_nearest_match(vision, add):
    add()
    with pytest.raises(UserError, match=r"unknown data set 'mien'.*did you mean 'mine'"):
        dataset_of(vision, "mien")
