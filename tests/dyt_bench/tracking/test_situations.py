"""What a laboratory's MLflow may do: each situation is told at the start, and loses nothing."""

import base64
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dyt_bench.errors import UserError
from dyt_bench.tracking import Tracker, address
from dyt_bench.tracking.address import check_database, hidden, shown
from dyt_bench.tracking.store import prepare

from .conftest import a_run, free_port, result, runs_of, train

pytestmark = pytest.mark.slow

SECRET = "s3cret-p4ss"
OK = (200, b'{"experiments": []}', "application/json")
HTML = b"<html><title>Sign in</title></html>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.answer(self)

    do_GET = do_POST

    def send(self, status, body=b"", kind="text/html", length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_): ...


@contextmanager
def serving(answer, tls=None):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.answer = answer
        server.handle_error = lambda *_: None  # clients that hang up are meant
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(autouse=True)
def settings(monkeypatch, impatient):
    """None of the user's, and no proxy between us and this machine."""
    prepare()
    for name in ("USERNAME", "PASSWORD", "TOKEN", "SERVER_CERT_PATH", "INSECURE_TLS"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)


def always(status, body=b"", kind="text/html", **more):
    return lambda request: request.send(status, body, kind, **more)


def only_with(header):
    def answer(request):
        known = request.headers.get("Authorization") == header
        request.send(*OK) if known else request.send(401, b"who?")

    return answer


BASIC = "Basic " + base64.b64encode(f"ada:{SECRET}".encode()).decode()


def late(request):
    time.sleep(0.1)
    request.send(*OK)


def prefixed(request):
    request.send(*(OK if request.path.startswith("/lab/mlflow/api/") else (404, HTML)))


def moved(target):
    def answer(request):
        if request.path == target:
            request.send(200, HTML) if target == "/login" else request.send(*OK)
        else:
            request.send(302, Location=target)

    return answer


def hangs_up(request):
    request.connection.shutdown(socket.SHUT_RDWR)


def cut_off(request):
    request.send(200, b'{"exp', "application/json", length=999)
    request.connection.shutdown(socket.SHUT_RDWR)


class Silence(threading.Event):
    """Never answers, until the test is over."""

    def __call__(self, request):
        self.wait(5)


NOT = "is not MLflow"
# What the server does, settings, the address; what is said: None if nothing, "!" of an error.
ANSWERS = {
    "it answers": (always(*OK), {}, "{http}", None),
    "it is slow": (late, {}, "{http}", None),
    "it has a prefix": (prefixed, {}, "{http}/lab/mlflow", None),
    "it ends with a slash": (prefixed, {}, "{http}/lab/mlflow/", None),
    "it knows the token": (only_with(f"Bearer {SECRET}"), {"TOKEN": SECRET}, "{http}", None),
    "it does not know the token": (
        only_with("Bearer x"),
        {"TOKEN": SECRET},
        "{http}",
        "!status 401",
    ),
    "it wants a token": (only_with("Bearer x"), {}, "{http}", "!set MLFLOW_TRACKING_USERNAME"),
    "it knows the user": (
        only_with(BASIC),
        {"USERNAME": "ada", "PASSWORD": SECRET},
        "{http}",
        None,
    ),
    "it knows the address's user": (only_with(BASIC), {}, f"http://ada:{SECRET}@{{at}}", None),
    "it knows no such user": (only_with("x"), {}, f"http://ada:{SECRET}@{{at}}", "!status 401"),
    "it refuses": (always(403, b"no"), {}, "{http}", "!refuses this user"),
    "it has no such page": (always(404, HTML), {}, "{http}", f"!{NOT}"),
    "it has another service's pages": (always(404, b'{"detail": "?"}'), {}, "{http}", f"!{NOT}"),
    "it has a page of its own": (always(200, HTML), {}, "{http}", f"!{NOT}"),
    "it has a list": (always(200, b"[]", "application/json"), {}, "{http}", f"!{NOT}"),
    "it is empty": (always(200), {}, "{http}", f"!{NOT}"),
    "it fails": (always(500, b"oops"), {}, "{http}", "status 500"),
    "its gateway fails": (always(502, HTML), {}, "{http}", "status 502"),
    "it is overloaded": (always(503, HTML), {}, "{http}", "status 503"),
    "its gateway waits": (always(504, HTML), {}, "{http}", "status 504"),
    "it limits requests": (always(429, b"slow down"), {}, "{http}", "status 429"),
    "it has moved": (moved("/there"), {}, "{http}", None),
    "it wants a login": (moved("/login"), {}, "{http}", f"!{NOT}"),
    "it redirects for ever": (moved("/no/such/target"[::-1]), {}, "{http}", "redirect"),
    "it hangs up": (hangs_up, {}, "{http}", "onnection"),
    "it is cut off": (cut_off, {}, "{http}", "read"),
    "it is silent": (Silence(), {}, "{http}", "no answer in time"),
    "it speaks no TLS": (always(*OK), {}, "https://{at}", "!speaks no TLS"),
    "there is nobody": (None, {}, "{http}", "refused"),
    "the port is none": (None, {}, "http://127.0.0.1:99999", "!is not an address"),
}


def told(uri, workspace):
    """What a tracker says at the start: of a store that can never be, with an exclamation mark."""
    tracker = Tracker(uri, "dyt-bench/made-up", workspace)
    try:
        tracker.connect()
        said = tracker.problem
    except UserError as error:
        return f"!{error}"
    tracker.close(0.0)
    return said


@pytest.mark.parametrize("what", ANSWERS)
def test_a_situation_is_told_at_the_start(workspace, monkeypatch, what):
    answer, settings, uri, expected = ANSWERS[what]
    for name, value in settings.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with serving(answer or always(*OK)) as port:
        at = f"127.0.0.1:{port if answer else free_port()}"
        said = told(uri.format(http=f"http://{at}", at=at), workspace)
    if isinstance(answer, Silence):
        answer.set()
    if expected is None:
        assert said is None
        return
    assert said is not None
    assert said.startswith("!") == expected.startswith("!"), said
    assert expected.lstrip("!") in said
    assert SECRET not in said
    assert "\n" not in said


@pytest.fixture
def tls(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "key.pem")
    return context


@pytest.mark.parametrize(
    ("host", "settings", "expected"),
    [
        ("127.0.0.1", {}, "!is not trusted"),
        ("127.0.0.1", {"MLFLOW_TRACKING_SERVER_CERT_PATH": "authority.pem"}, None),
        ("127.0.0.1", {"REQUESTS_CA_BUNDLE": "authority.pem"}, None),
        ("127.0.0.1", {"MLFLOW_TRACKING_INSECURE_TLS": "true"}, None),
        ("localhost", {"MLFLOW_TRACKING_SERVER_CERT_PATH": "authority.pem"}, "!is not trusted"),
    ],
    ids=["unknown authority", "MLflow's setting", "requests' setting", "unverified", "other host"],
)
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_laboratorys_own_authority(
    workspace, monkeypatch, tls, certificates, host, settings, expected
):
    for name, value in settings.items():
        own = certificates / value
        monkeypatch.setenv(name, str(own) if own.exists() else value)
    with serving(always(*OK), tls) as port:
        said = told(f"https://{host}:{port}", workspace)
    assert (said is None) == (expected is None), said
    if expected:
        assert expected.lstrip("!") in said
        assert "set MLFLOW_TRACKING_SERVER_CERT_PATH" in said


@pytest.fixture
def guarded(server):
    """MLflow's own server, behind a user and a password."""
    whole = server.app

    def app(environ, start_response):
        if environ.get("HTTP_AUTHORIZATION") != BASIC:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Basic")])
            return [b"You are not authenticated."]
        return whole(environ, start_response)

    server.app = app
    return server


def test_a_real_mlflow_with_a_password_and_its_own_authority_gets_everything(
    uri, guarded, workspace, begin, monkeypatch, certificates, tls
):
    guarded.start(tls)
    guarded.uri = guarded.uri.replace("http://", "https://")
    monkeypatch.setattr(address, "PROBE_S", 10.0)
    assert "is not trusted" in told(guarded.uri, workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificates / "authority.pem"))
    assert "status 401" in told(guarded.uri, workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    run = a_run("dyt")
    record = begin(run)
    train(record)
    record.finish(result(run))
    tracker = Tracker(guarded.uri, "dyt-bench/made-up", workspace)
    tracker.connect()
    tracker.follow(record)
    tracker.close()
    assert tracker.problem is None
    (sent,) = runs_of(uri)
    assert (sent.info.status, sent.data.metrics["val/acc"]) == ("FINISHED", 0.4)


@pytest.mark.parametrize(
    ("dies", "said"),
    [(always(500, b"x"), "status 500"), (always(401, b"x"), "status 401"), (hangs_up, "onnection")],
    ids=["fails", "refuses", "hangs up"],
)
def test_a_server_that_answers_once_and_then_not_is_told_at_the_end(
    workspace, begin, monkeypatch, dies, said
):
    asked = []

    def answer(request):
        asked.append(request.path)
        request.send(*OK) if len(asked) == 1 else dies(request)

    with serving(answer) as port:
        tracker = Tracker(f"http://ada:{SECRET}@127.0.0.1:{port}", "dyt-bench/made-up", workspace)
        tracker.connect()
        assert tracker.problem is None
        tracker.follow(begin(a_run("dyt")))
        tracker.close(20.0)
    assert said in tracker.problem
    assert SECRET not in tracker.problem


@pytest.mark.parametrize(
    "raised", [SystemExit("bye"), MemoryError(), KeyError("x"), GeneratorExit()]
)
def test_whatever_an_item_raises_the_thread_goes_on_and_says_so(
    uri, workspace, begin, impatient, raised
):
    class Item:
        sent = 0

        def send(self, store, *, last):
            Item.sent += 1
            if Item.sent < 3:
                raise raised
            return True

    record = begin(a_run("dyt"))
    record.finish(result(a_run("dyt")))
    tracker = Tracker(uri, "dyt-bench/made-up", workspace)
    tracker.connect()
    tracker._sender.follow(Item())
    while not Item.sent:
        time.sleep(0.01)
    tracker.follow(record)
    while Item.sent < 3:
        time.sleep(0.01)
    tracker.close()
    assert tracker.problem is None
    assert len(runs_of(uri)) == 1


def test_what_is_never_sent_is_said(uri, workspace, impatient):
    class Item:
        def send(self, store, *, last):
            raise SystemExit("bye")

    tracker = Tracker(uri, "dyt-bench/made-up", workspace)
    tracker.connect()
    tracker._sender.follow(Item())
    tracker.close()
    assert tracker.problem == "SystemExit: bye"


@pytest.mark.parametrize(
    "uri",
    [
        f"http://ada:{SECRET}@h:5000/x",
        f"postgresql+psycopg2://ada:{SECRET}@h/db",
        f"postgresql://h/db?password={SECRET}",
        f"http://{SECRET}@h",
        "http://ada:s3cret%2Dp4ss@h",
        f"https://h/?token={SECRET}",
    ],
)
def test_secrets_of_an_address_are_shown_nowhere(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert "s3cret" not in shown(uri)
    said = hidden(f"cannot connect to {uri} with {SECRET}, t0ken and ada", uri)
    assert not any(secret in said for secret in ("s3cret", "t0ken"))
    assert "//h" in shown(uri)


def test_an_address_without_secrets_is_shown_as_it_is():
    for uri in ("sqlite:////a/b.db", "http://h:5000/x", "postgresql://h/db", "databricks"):
        assert shown(uri) == uri


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"no database at all" * 99),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to(path),
    ],
    ids=["another file", "a folder", "a link to itself"],
)
def test_a_store_that_cannot_be_opened_is_told_at_once(tmp_path, workspace, make, monkeypatch):
    """MLflow tries for a minute and more: it is not asked."""
    path = tmp_path / "store.db"
    make(path)
    monkeypatch.setattr("mlflow.MlflowClient", None)
    with pytest.raises(UserError, match=r"no MLflow store answers at sqlite:.* \(.*\): start"):
        Tracker(f"sqlite:///{path}", "e", workspace).connect()


def test_a_database_that_is_silent_is_told_in_time(monkeypatch):
    from threading import Event

    import sqlalchemy

    over = Event()
    monkeypatch.setattr(sqlalchemy, "create_engine", lambda *_, **__: over.wait(60))
    monkeypatch.setattr(address, "PROBE_S", -4.9)
    with pytest.raises(TimeoutError, match="no answer in time"):
        check_database("postgresql://h/db")
    over.set()
