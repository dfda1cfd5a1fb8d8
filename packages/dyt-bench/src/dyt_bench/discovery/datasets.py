"""A domain's data sets by name: its own, and those that packages add in one of its layouts."""

from dataclasses import replace
from pathlib import Path

from dyt_bench.discovery.domains import unknown
from dyt_bench.discovery.extensions import DATASETS
from dyt_bench.errors import DataError, UserError, quoted
from dyt_bench.plugin.domain import Dataset, Domain
from dyt_bench.plugin.extensions import AddedDataset
from dyt_bench.plugin.fetch import fetched_folder
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task, digest


def datasets_of(domain: Domain) -> dict[str, Dataset]:
    """Name -> data set, the domain's own first; broken ones are left out."""
    found = dict(domain.datasets)
    for name in DATASETS.names():
        added = DATASETS.get(name)
        if added is not None and not mismatch(name, added, domain):
            found[name] = _as_dataset(name, added, domain)
    return found


def dataset_of(domain: Domain, name: str) -> Dataset:
    """The data set called ``name``.

    Raises:
        UserError: the domain has none of that name, with the nearest match; or a package adds it
            and it is broken, or another domain's.
    """
    if name in domain.datasets:
        return domain.datasets[name]
    if name not in DATASETS.names():
        raise UserError(unknown("data set", name, datasets_of(domain)))
    added = DATASETS.load(name)
    problem = mismatch(name, added, domain)
    if problem:
        raise UserError(f"data set {quoted(name)} {problem}")
    return _as_dataset(name, added, domain)


def content_digest(domain: Domain, name: str, path: Path | None) -> str:
    """A hash of what the data set is read from: its files, their paths, and the layout.

    Raises:
        UserError: there is no such data set, or its files are not there.
    """
    files = dataset_of(domain, name).files(path)
    if name in domain.datasets:
        return digest_files(files, path)
    added = DATASETS.load(name)
    return digest(added.reads_as, digest_files(files, _path(name, added)))


def as_read(task: Task, domain: Domain) -> Task:
    """The task as the domain knows it: an added data set is one of its own, at a path."""
    if task.dataset in domain.datasets:
        return task
    added = DATASETS.load(task.dataset)
    return replace(task, dataset=added.reads_as, path=_path(task.dataset, added))


def mismatch(name: str, added: AddedDataset, domain: Domain) -> str:
    """Why the data set cannot be one of the domain's; empty if it can."""
    if added.domain != domain.name:
        return f"is for the domain {quoted(added.domain)}, not for {quoted(domain.name)}"
    if name in domain.datasets:
        return f"is one of {quoted(domain.name)} itself: it needs another name"
    layouts = [key for key, dataset in domain.datasets.items() if dataset.takes_path]
    if added.reads_as not in layouts:
        return (
            f"is to be read as {quoted(added.reads_as)}, which is no data set of "
            f"{quoted(domain.name)} that takes a path: expected one of "
            f"{', '.join(layouts) or 'none'}"
        )
    return ""


def _as_dataset(name: str, added: AddedDataset, domain: Domain) -> Dataset:
    layout = domain.datasets[added.reads_as]
    check = layout.check_options
    return Dataset(
        summary=added.summary,
        source=added.source,
        licence=added.licence,
        options=layout.options,
        check_options=check and (lambda _, options: check(_path(name, added), options)),
        files=lambda _: layout.files(_path(name, added)),
        fetch=added.fetch,
    )


def _path(name: str, added: AddedDataset) -> Path:
    """Where the data set lies.

    Raises:
        DataError: it is not there; says the command that gets it.
    """
    if added.path is not None:
        return added.path()
    full = f"{added.domain}/{name}"
    folder = fetched_folder(full)
    if not folder.exists():
        raise DataError(f"{full} is not on this machine: get it with `dyt-bench data fetch {full}`")
    return folder
