"""A suite in a real SLURM: one controller and one node of two CPUs, which the test starts.

Jobs are requeued in the middle, by an administrator and by USR2, and the planner is killed and
started again.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from dyt_bench.errors import UserError
from dyt_bench.executors import slurm as engine
from dyt_bench.suite.executors import make_executor

from .engines import SUITE, command, in_the_middle, records, results, run_locally, wait_for

pytest.importorskip("submitit")
if not shutil.which("slurmctld") or os.geteuid():
    pytest.skip("needs root, slurm-wlm and munge", allow_module_level=True)

CONFIGURATION = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def cluster():
    """SLURM; its processes end with the tests."""
    folder = Path(f"/tmp/dyt-slurm-{os.getpid()}")  # munge's socket needs a short path
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    path = folder / "slurm.conf"
    path.write_text(CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2)))
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o600)
    munge = folder / "munge"
    own = [f"--{name}-file={munge / name}" for name in ("key", "log", "pid", "seed")]
    daemons = [
        ["munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *own],
        ["slurmctld", "-D", "-f", str(path)],
        ["slurmd", "-D", "-f", str(path)],
    ]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(path)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = []
    for daemon in daemons:
        started.append(subprocess.Popen(daemon, **quiet))
        time.sleep(1)
    wait_for(lambda: "idle" in slurm("sinfo", "--noheader", "--format=%T"), started[1], 60)
    yield folder
    slurm("scancel", "--full", "--state=RUNNING", "--user=root")
    for process in reversed(started):
        process.terminate()
        process.wait()
    if before is None:
        del os.environ["SLURM_CONF"]
    shutil.rmtree(folder)


def slurm(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def jobs():
    """Number -> state of all jobs that have not ended."""
    lines = slurm("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


def at_once(process):
    """Let requeued jobs start: SLURM would wait for two minutes."""

    def resumed():
        waiting = [number for number, state in jobs().items() if state == "PENDING"]
        for number in waiting:
            slurm("scontrol", "update", f"JobId={number}", "StartTime=now")
        return not waiting

    wait_for(resumed, process)


def note(folder):
    return json.loads((folder / "log.txt.slurm").read_text())["job"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "engines.yaml"
    path.write_text(SUITE + "executor: {name: slurm, partition: main, cpus: 1}\n")
    return path


def start(suite, workspace):
    arguments = command(suite, workspace, "--checkpoint-every", "0")
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_requeued_jobs_and_a_killed_planner_cost_no_result(cluster, suite, tmp_path):
    plain = tmp_path / "plain.yaml"
    plain.write_text(SUITE)
    local = run_locally(plain, tmp_path / "local")
    workspace = tmp_path / "workspace"
    planner = start(suite, workspace)

    def both():
        found = in_the_middle(workspace / "runs")
        return found if len(found) == 2 else None

    first, second = map(note, wait_for(both, planner))
    assert first.partition("_")[0] == second.partition("_")[0]  # one array
    slurm("scontrol", "requeue", first)
    slurm("scancel", "--signal=USR2", second)
    wait_for(lambda: set(jobs().values()) == {"PENDING"}, planner)
    planner.send_signal(signal.SIGKILL)
    planner.communicate()
    again = start(suite, workspace)
    at_once(again)
    _, said = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert results(workspace / "runs") == local
    made = records(workspace / "runs")
    assert all("resumed" in record.result().facts for record in made)
    submitted = {
        path.name.partition("_")[0] for path in (workspace / "runs/.slurm").glob("[0-9]*.pkl")
    }
    assert submitted == {first.partition("_")[0]}  # the planner found them: it sent no others
    assert not [path for record in made for path in record.folder.glob("log.txt.*")]


def test_what_ends_while_nobody_plans_is_found(cluster, suite, tmp_path):
    planner = start(suite, tmp_path / "w")
    wait_for(lambda: in_the_middle(tmp_path / "w" / "runs"), planner)
    planner.send_signal(signal.SIGINT)
    _, said = planner.communicate(timeout=60)
    assert planner.returncode == 130
    assert "SLURM's jobs continue: the same command finds them again, and `scancel " in said
    deadline = time.monotonic() + 400
    while jobs() and time.monotonic() < deadline:
        time.sleep(1)
    again = start(suite, tmp_path / "w")
    again.communicate(timeout=600)
    assert again.returncode == 0
    assert not any("resumed" in r.result().facts for r in records(tmp_path / "w" / "runs"))


def test_a_job_that_is_cancelled_fails_with_its_state(cluster, suite, tmp_path, monkeypatch):
    planner = start(suite, tmp_path / "w")
    found = wait_for(lambda: in_the_middle(tmp_path / "w" / "runs"), planner)
    slurm("scancel", note(found[0]))
    _, said = planner.communicate(timeout=600)
    assert planner.returncode == 1
    assert "SLURM ended its job" in said
    assert "state CANCELLED" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"partition": "gpu"}, "SLURM has no partition 'gpu': there are main"),
        ({"partition": "main,gpu"}, "SLURM has no partition 'main,gpu': there are main"),
    ],
)
def test_a_partition_that_is_not_there_is_one_sentence(cluster, options, said):
    with pytest.raises(UserError, match=said):
        make_executor("slurm", options, [])


def test_without_slurm_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs SLURM's command 'sbatch', which is not on this"):
        make_executor("slurm", {}, [])


def test_a_controller_that_does_not_answer_is_one_sentence(cluster, monkeypatch, tmp_path):
    (tmp_path / "slurm.conf").write_text("ClusterName=none\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(UserError, match="SLURM's command sinfo fails: ") as raised:
        make_executor("slurm", {}, [])
    assert "\n" not in str(raised.value)
