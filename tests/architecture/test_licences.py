"""Wheels and source distributions carry their licences, each built from its package alone."""

import email
import shutil
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling import build

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(file.parent for file in (ROOT / "packages").glob("*/pyproject.toml"))
LICENCE = (ROOT / "LICENSE").read_text()


def project(package):
    return tomllib.loads((package / "pyproject.toml").read_text())["project"]


def sdist(package, folder):
    """The source distribution, unpacked: built from a copy, beside which there is no repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shutil.copytree(package, folder / package.name))
        name = build.build_sdist(str(folder))
    with tarfile.open(folder / name) as archive:
        archive.extractall(folder, filter="data")
    return folder / name.removesuffix(".tar.gz")


def wheel(source, folder):
    """The names and texts of the files in the ``.dist-info`` of the wheel built from a source."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(source)
        patch.setenv("CXX", "none")  # dyt-core's kernels would compile for half a minute
        name = build.build_wheel(str(folder))
    with zipfile.ZipFile(folder / name) as archive:
        return {
            file.partition(".dist-info/")[2]: archive.read(file).decode()
            for file in archive.namelist()
            if ".dist-info/" in file
        }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_wheel_and_sdist_carry_the_licences(package, tmp_path):
    source = sdist(package, tmp_path)
    info = wheel(source, tmp_path)
    listed = project(package)["license-files"]
    metadata = email.message_from_string(info["METADATA"])
    assert metadata["License-Expression"] == project(package)["license"]
    assert metadata["License-Expression"].split(" AND ")[0] == "MIT"
    assert metadata.get_all("License-File") == listed
    assert info["licenses/LICENSE"] == (source / "LICENSE").read_text() == LICENCE
    for file in listed:
        assert info[f"licenses/{file}"] == (source / file).read_text()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_licence_in_a_package_is_listed(package):
    """Those of embedded data as well, which are not this repository's."""
    found = {
        str(file.relative_to(package))
        for pattern in ("LICEN[CS]E*", "NOTICE*", "COPYING*")
        for file in package.rglob(pattern)
    }
    listed = project(package)["license-files"]
    assert sorted(found) == sorted(listed)
    others = {Path(file).parent for file in listed} - {Path()}
    assert len(project(package)["license"].split(" AND ")) == 1 + len(others)
