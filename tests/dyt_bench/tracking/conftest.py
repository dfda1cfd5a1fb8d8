"""Made-up records, and MLflow stores and servers for them."""

import datetime
import inspect
import ipaddress
import shutil
import socket
import threading
import warnings
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient

from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import Result
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking import address, sender
from dyt_bench.tracking import store as stores

STEPS = 40


def a_run(variant="native", seed=0, model="vit", domain="vision", dataset="digits"):
    return Run(
        task=Task(
            domain=domain,
            model=model,
            dataset=dataset,
            seed=seed,
            steps=STEPS,
            batch_size=1,
            learning_rate=1e-3,
            val_every=20,
            data_digest="abc",
        ),
        variant=Variant(name=variant),
    )


def train(record, first=1, last=STEPS, rate=20.0):
    """Rows as a worker writes them."""
    for step in range(first, last + 1):
        record.append(step, {"train/loss": 3 - step / rate})
        if step % 20 == 0:
            record.append(step, {"val/acc": step / 100, "val/loss": 1.0})


def result(run, started=1000.0, value=0.4):
    swapped = not run.variant.is_native
    return Result(
        status="finished",
        started=started,
        ended=started + 10.0,
        first={"step": 0.0, "val/acc": 0.1, "val/loss": 3.0},
        best={"step": 40.0, "val/acc": value, "val/loss": 1.0},
        last={"step": 40.0, "val/acc": value, "val/loss": 1.0},
        summary={"time/step_ms_median": 12.0, "memory/peak_mib": 300.0},
        facts={"weights": "w", "batches": "b"},
        alpha={f"blocks.{i}.norm": 0.5 + i / 10 for i in range(4)} if swapped else {},
        saturation={f"blocks.{i}.norm": i / 50 for i in range(4)} if swapped else {},
    )


@pytest.fixture
def workspace(tmp_path):
    space = Workspace(tmp_path / "work")
    space.create()
    return space


@pytest.fixture
def begin(workspace):
    """Begin the record of a run."""

    def begun(run):
        record = workspace.record(run)
        record.begin(run, {"cpu": "abacus", "commit": "none"})
        return record

    return begun


@pytest.fixture
def suite(workspace, begin):
    """A suite that has run: two variants, two seeds, of one model; its records."""
    records = []
    for seed in (0, 1):
        for variant, value in (("native", 0.4), ("dyt", 0.6)):
            run = a_run(variant, seed)
            records.append(begin(run))
            train(records[-1])
            records[-1].finish(result(run, value=value + seed / 100))
    remember(workspace, "made-up", records)
    return records


def remember(workspace, name, records):
    """Write down the suite's runs, as `dyt-bench run` does."""
    about = {"title": "Made up", "runs": [record.folder.name for record in records]}
    write_json(workspace.suite_path(name), about)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An SQLite file with MLflow's tables: creating them takes seconds, copying them no time."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    stores.prepare()
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def impatient(monkeypatch):
    """Waits of hundredths of seconds in place of seconds."""
    monkeypatch.setattr(sender, "SEND_EVERY_S", 0.02)
    monkeypatch.setattr(sender, "ASK_AGAIN_S", 0.1)
    monkeypatch.setattr(address, "PROBE_S", 0.5)


class Server:
    """MLflow's server in a thread of this process, which starts and stops at once."""

    def __init__(self, app):
        self.app = app
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._server = None

    def start(self, tls=None):
        from werkzeug.serving import make_server

        self._server = make_server("127.0.0.1", self.port, self.app, threaded=True, ssl_context=tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def kill(self):
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    @contextmanager
    def frozen(self):
        """The port accepts connections and never answers."""
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            deaf.bind(("127.0.0.1", self.port))
            deaf.listen()
            yield


@pytest.fixture
def server(uri, tmp_path, monkeypatch):
    """A server that is not started yet, for the store at ``uri``."""
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", uri)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    artifacts = (tmp_path / "served").as_uri()
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", artifacts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's server imports what its libraries deprecate
        import starlette.middleware.wsgi  # noqa: F401  # else during the first search
        from mlflow.server import app, handlers

    monkeypatch.setattr(handlers, "_tracking_store", None)
    monkeypatch.setattr(handlers, "_artifact_repo", None)
    served = Server(app)
    yield served
    served.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def curves(uri, run):
    """Metric -> its points (step, value) as the store at ``uri`` has them."""
    client = MlflowClient(uri)
    return {
        name: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def runs_of(uri, kind="run", experiment="dyt-bench/made-up"):
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    return client.search_runs([found.experiment_id], f"tags.kind = '{kind}'")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A laboratory's own authority: its certificate, and the server's with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)

    def named(name):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def builder(subject, issuer, key):
        made = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(issuer))
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=1))
        return made.not_valid_after(now + datetime.timedelta(days=1))

    def usage(*given):
        names = [name for name in inspect.signature(x509.KeyUsage).parameters if name != "self"]
        return x509.KeyUsage(**{name: name in given for name in names})

    root, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = (
        builder("laboratory", "laboratory", root)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage("key_cert_sign", "crl_sign"), critical=True)
    )
    authority = authority.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(root.public_key()), critical=False
    ).sign(root, hashes.SHA256())
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        builder("server", "laboratory", own)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
        )
        .sign(root, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    (folder / "server.pem").write_bytes(server.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder
