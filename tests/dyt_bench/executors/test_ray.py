"""A suite on a real Ray cluster: two nodes that do not see the workspace, one killed in the middle.

Both nodes are processes of this machine. The command that plans has a file system of its own (a
mount namespace), in which its workspace is: no node can read or write it.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dyt_bench.errors import UserError
from dyt_bench.suite.executors import make_executor

from .engines import SUITE, command, in_the_middle, records, results, run_locally, wait_for

pytest.importorskip("ray")


def patiently(start):
    """Start part of a cluster, again where a busy machine takes longer than Ray's half minute."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:
            if "timed out" not in str(error):
                raise
    return start()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    made = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "engines.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def local(suite, tmp_path_factory):
    """What the same suite comes to without an engine."""
    return run_locally(suite, tmp_path_factory.mktemp("local"))


def test_a_node_that_is_killed_costs_no_result(cluster, suite, local, tmp_path):
    nodes = [patiently(lambda: cluster.add_node(num_cpus=1)) for _ in range(2)]
    cluster.wait_for_nodes()
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    # The workspace is a file system that this process and what it starts alone have.
    mount = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
    arguments = command(suite, workspace, "--executor", "ray", "--checkpoint-every", "0")
    planner = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount, str(workspace), *arguments],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = Path(f"/proc/{planner.pid}/root{workspace}")
    wait_for(lambda: len(in_the_middle(seen / "runs")) == 2, planner)
    assert list(workspace.iterdir()) == []  # nobody else sees it
    cluster.remove_node(nodes[0], allow_graceful=False)
    kept = tmp_path / "kept"
    # Until it ends: then its file system is gone.
    wait_for(lambda: (seen / "results" / "engines" / "README.md").exists(), planner)
    shutil.copytree(seen / "runs", kept)
    _, said = planner.communicate()
    assert planner.returncode == 0, said
    assert results(kept) == local
    made = records(kept)
    assert any("its node was lost" in record.log_path.read_text() for record in made)
    logs = [record.log_path.read_text() for record in made]
    assert any("resumed" in record.result().facts for record in made), logs
    cluster.remove_node(nodes[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"address": "nowhere"}, "'nowhere' is no address of a Ray cluster: give host:port"),
        ({"address": "127.0.0.1:9"}, "no Ray cluster answers at 127.0.0.1:9 .*refused"),
    ],
)
def test_a_wrong_address_is_one_sentence_at_once(options, said):
    start = time.monotonic()
    with pytest.raises(UserError, match=said) as raised:
        make_executor("ray", options, [])
    assert "\n" not in str(raised.value)
    assert time.monotonic() - start < 30


def test_what_no_node_has_is_told_before_anything_trains(cluster, suite, tmp_path):
    node = patiently(lambda: cluster.add_node(num_cpus=1))
    large = tmp_path / "large.yaml"
    large.write_text(SUITE + "executor: {name: ray, num_gpus: 8}\n")
    run = subprocess.run(
        [*command(large, tmp_path / "w"), "--json"],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("dyt-bench: no node of the Ray cluster has what a run takes")
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "w").exists()
    cluster.remove_node(node)


def test_ctrl_c_keeps_checkpoints_and_the_same_command_resumes(cluster, suite, local, tmp_path):
    node = patiently(lambda: cluster.add_node(num_cpus=1))
    cluster.wait_for_nodes()
    arguments = command(suite, tmp_path / "w", "--executor", "ray", "--json")
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    planner = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    rows = tmp_path / "w" / "runs"
    wait_for(lambda: [f for f in rows.glob("*/rows.jsonl") if f.stat().st_size > 2000], planner)
    planner.terminate()
    planner.communicate()
    assert planner.returncode == 143
    assert any(rows.glob("*/checkpoint"))
    again = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["stopped"] == ""
    assert results(rows) == local
    cluster.remove_node(node)
