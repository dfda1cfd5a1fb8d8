"""The tiny plugin of tests/plugins, found as an installed one is, here and in new processes."""

import sys

import pytest

from dyt_tiny import install


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The plugin is installed; the environment for other processes to find it."""
    folder = tmp_path_factory.mktemp("site")
    environment = install(folder)
    sys.path.append(str(folder))
    yield environment
    sys.path.remove(str(folder))
