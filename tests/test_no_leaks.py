"""No secret in anything that recon leaves or prints, however it fails; certificates always verified; a time-out on every request."""

from __future__ import annotations

import ast
import base64
import datetime as dt
import http.server
import ipaddress
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import nbformat
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nbformat.v4 import new_code_cell, new_notebook
from requests.adapters import HTTPAdapter

import recon
from recon.clock import iso
from recon.errors import SettingsError, SourceError
from recon.sandbox.faults import Fault
from recon.settings import GatewaySettings
from recon.sources.gateway_client import GatewayClient
from recon.sources.http import ReadingAdapter
from tests.resubscribe.cli import here
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where sessions are made: with a `ReadingAdapter`, or, in the sandbox, to ask itself on loopback with a time-out.
EQUIPPED = ("sources/http.py", "doctor_remote.py", "sandbox/served.py")
WRONG = {
    "RECON_SF_CONSUMER_KEY": "planted-wrong/consumer key",
    "RECON_SF_CONSUMER_SECRET": "planted-wrong+consumer&secret",
    "RECON_SF_PASSWORD": "planted-wrong password <&>",
    "RECON_SF_SECURITY_TOKEN": "plantedwrongsecuritytoken",
    "RECON_GATEWAY_TOKEN": "planted-wrong-gateway-token",
    "RECON_SF_PRIVATE_KEY_PASSPHRASE": "planted wrong passphrase",
    "RECON_LEDGER_KEYS": f"hk1={'5ec4e7' * 10}5ec4",
    "RECON_LEDGER_SIGNING_KEY_PASSPHRASE": "another planted passphrase",
}
#: A key that no org knows, and one that its passphrase doesn't open.
KEY = ec.generate_private_key(ec.SECP256R1())
PLAIN = KEY.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
LOCKED = KEY.private_bytes(
    form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"the planted right passphrase")
).decode()


def forms(secret: str) -> set[str]:
    """A secret as it may stand in a file or a message."""
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1], encoded}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = new_rig(tmp_path_factory.mktemp("leaks"))
    rig.pair("ada@buyer.example")
    rig.pair("bob@buyer.example", sobject="Lead")
    rig.days(3)
    rig.approve("ada@buyer.example")
    rig.pull()
    file = rig.folder / "recon.toml"
    # No second try: here everything is to fail, and soon.
    text = file.read_text().replace("[salesforce]", "[salesforce]\nretries = 0")
    file.write_text(text.replace("[sales_connect.gateway]", "[sales_connect.gateway]\nretries = 0"))
    yield rig
    rig.sandbox.close()


def test_nothing_that_a_failing_run_leaves_or_prints_holds_a_secret(rig: Rig) -> None:
    own = rig.sandbox.environment()
    told: list[str] = []

    def tried(*arguments: str | Path, **environ: str) -> None:
        done = here(rig, "--debug", *arguments, folder=None, **environ)
        assert done.returncode != 0, (arguments, done.stdout, done.stderr)
        told.extend((done.stdout, done.stderr))

    def met(*faults: Fault) -> None:
        rig.sandbox.faults.clear()
        rig.sandbox.faults.add(*faults)

    def toml(login: str) -> None:
        file = rig.folder / "recon.toml"
        file.write_text(re.sub(r'login = "\w+"', f'login = "{login}"', file.read_text()))

    # Logins that are refused, every way.
    for login in ("client_credentials", "password", "soap"):
        toml(login)
        tried("pull", **WRONG)
        tried("doctor", "--json", **WRONG)
    toml("jwt")
    tried("pull", **WRONG | {"RECON_SF_PRIVATE_KEY_FILE": PLAIN})
    tried("pull", **WRONG | {"RECON_SF_PRIVATE_KEY_FILE": LOCKED})
    tried("doctor", **WRONG | {"RECON_SF_PRIVATE_KEY_FILE": LOCKED})
    toml("client_credentials")
    tried("pull", RECON_GATEWAY_TOKEN=WRONG["RECON_GATEWAY_TOKEN"])
    # A token that can't be sent, a variable that is empty.
    tried("pull", RECON_GATEWAY_TOKEN=own["RECON_GATEWAY_TOKEN"] + "\nX-Injected: 1")
    tried("pull", RECON_SF_CONSUMER_SECRET="")
    # Systems that fail in the middle, and say the secrets to whoever listens.
    echo = json.dumps([{"errorCode": "UNKNOWN", "message": " ".join(own.values())}])
    for system, path in (("salesforce", "/query"), ("salesforce", "oauth2"), ("gateway", "/people")):
        for status in (400, 401, 500):
            met(Fault(kind="status", system=system, path=path, status=status, content=echo, times=100))
            tried("pull")
    met(Fault(kind="cut", system="salesforce", path="/query", times=100))
    tried("pull")
    met()
    tried("plan", "approved.csv")
    rig.approved()
    here(rig, "plan", "approved.csv", "--run-id", "planned")
    plan = rig.folder / "reports" / "planned" / "plan.json"
    # Keys of the ledger that are others than it was written with, and one for signing that can't be opened.
    tried("plan", "approved.csv", RECON_LEDGER_KEYS=WRONG["RECON_LEDGER_KEYS"])
    signing = {"RECON_LEDGER_SIGNING_KEY": LOCKED} | WRONG
    tried("ledger", "checkpoint", **{name: text for name, text in signing.items() if "SIGNING" in name})
    met(Fault(kind="status", system="salesforce", method="PATCH", status=500, content=echo, times=100))
    tried("apply", plan, "--actor", ADMIN)
    met(Fault(kind="status", system="gateway", method="POST", status=500, content=echo, times=100))
    tried("apply", plan, "--actor", ADMIN)
    met(Fault(kind="status", system="gateway", status=500, content=echo, times=100))
    tried("verify")
    met()
    tried("run", "-p", f"engine={own['RECON_GATEWAY_TOKEN']}")
    tried("run", "-p", "gateway_token=x")
    _prints_its_environment(rig.folder)
    done = _run(rig, "--notebooks", "01_pull,leaky", "--run-id", "leaky")
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)
    told += [done.stdout, done.stderr]
    done = _run(rig, "--run-id", "refused", **WRONG)
    assert "01_pull: failed after" in done.stdout
    assert done.returncode == 1
    told += [done.stdout, done.stderr]

    done = here(rig, "report", "--run", "planned", folder=None, **WRONG)
    assert (done.returncode, "compliance.html" in done.stdout) == (0, True), done.stderr
    told += [done.stdout, done.stderr]

    left = [path for path in rig.folder.rglob("*") if path.is_file()]
    assert {
        "compliance.html",
        "leaky.ipynb",
        "01_pull.ipynb",
        "plan.json",
        "apply.json",
        "manifest.json",
        "ledger.db",
    } <= {path.name for path in left}
    lines = [line for key in (PLAIN, LOCKED) for line in key.splitlines() if not line.startswith("-")]
    for secret in (*own.values(), *WRONG.values(), WRONG["RECON_LEDGER_KEYS"].partition("=")[2], *lines):
        for shape in forms(secret):
            assert not any(shape in text for text in told), shape
            assert [str(path) for path in left if shape.encode() in path.read_bytes()] == []
    # The traceback is shown all the same.
    assert any("Traceback" in text for text in told)


def _prints_its_environment(folder: Path) -> None:
    cells = ["import os\nprint(dict(os.environ))", "dict(os.environ)", "1 / 0"]
    parameters = new_code_cell('workspace: str = "."\nrun_id: str = ""', metadata={"tags": ["parameters"]})  # type: ignore[no-untyped-call]
    notebook = new_notebook(cells=[parameters, *(new_code_cell(cell) for cell in cells)])  # type: ignore[no-untyped-call]
    (folder / "notebooks").mkdir(exist_ok=True)
    nbformat.write(notebook, folder / "notebooks" / "leaky.ipynb")  # type: ignore[no-untyped-call]


def _run(rig: Rig, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The batch job as cron starts it, in a process of its own."""
    given = rig.sandbox.environment() | {"RECON_NOW": iso(rig.clock.now())} | environ
    return subprocess.run(
        [sys.executable, "-m", "recon", "--debug", "run", *arguments],
        cwd=rig.folder, env=os.environ | given, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A gateway of one person behind TLS, and the file with the authority that its certificate is from."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name("recon test"))
        .issuer_name(_name("recon test"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority, private = folder / "authority.pem", folder / "key.pem"
    authority.write_bytes(certificate.public_bytes(form.Encoding.PEM))
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))

    class OnePerson(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"people": [], "next": null, "total": 0}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # a client that refuses the certificate goes away

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    with Quiet(("127.0.0.1", 0), OnePerson) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}", authority
        server.shutdown()
        thread.join()


def page(url: str, ca_file: Path | None) -> Any:
    client = GatewayClient(
        GatewaySettings(url=url, retries=0, ca_file=ca_file), {"RECON_GATEWAY_TOKEN": "a-token-of-ours"}
    )
    try:
        return client.page(None, 1)
    finally:
        client.close()


def test_a_certificate_is_held_against_the_authorities_that_are_set(https: tuple[str, Path], tmp_path: Path) -> None:
    url, authority = https
    assert page(url, authority)["total"] == 0
    with pytest.raises(SourceError, match="its certificate can't be verified") as caught:
        page(url, None)
    assert "ca_file" in str(caught.value)
    with pytest.raises(SettingsError, match=r"certificate authorities .* is not there"):
        page(url, tmp_path / "none.pem")


def test_verifying_cannot_be_switched_off() -> None:
    adapter = ReadingAdapter(connect_timeout=1, read_timeout=1, retries=0, backoff_seconds=0)
    session = requests.Session()
    session.mount("https://", adapter)
    with session, pytest.raises(ValueError, match="always verified"):
        session.get("https://127.0.0.1:1", verify=False)


def test_every_request_of_a_whole_flow_has_time_outs_and_is_verified(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "ws"
    home.mkdir()
    shutil.copy(rig.folder / "recon.toml", home)
    rig.sandbox.faults.clear()
    sent: list[tuple[Any, Any]] = []
    plain = HTTPAdapter.send

    def looked_at(self: HTTPAdapter, request: Any, *arguments: Any, **options: Any) -> Any:
        sent.append((options.get("timeout"), options.get("verify")))
        return plain(self, request, *arguments, **options)

    monkeypatch.setattr(HTTPAdapter, "send", looked_at)
    (home / "approved.csv").write_bytes(rig.approved().read_bytes())
    for arguments in (
        ("pull",),
        ("plan", "approved.csv", "--run-id", "p"),
        ("apply", "reports/p/plan.json", "--actor", ADMIN),
        ("verify",),
        ("doctor",),
    ):
        here(rig, *arguments, folder=home)
    assert len(sent) > 20
    for timeout, verify in sent:
        assert isinstance(timeout, tuple)
        assert all(0 < seconds <= 120 for seconds in timeout)
        assert verify is not False


def _roundabouts(tree: ast.AST, inside: str) -> Iterator[str]:
    """What in a module would send a request that `recon.sources.http` knows nothing of, or unverified, or without an end."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from {"http.client", "urllib.request", "httpx", "aiohttp"} & set(modules)
        if not isinstance(node, ast.Call):
            continue
        named = ast.unparse(node.func)
        if re.fullmatch(r"requests\.(get|post|put|patch|delete|head|options|request|api\..*)", named):
            yield named
        if named.endswith(("urlopen", "create_connection", "_create_unverified_context")):
            yield named
        if named in ("requests.Session", "requests.session", "Session") and inside not in EQUIPPED:
            yield named
        for keyword in node.keywords:
            if keyword.arg in ("verify", "timeout") and ast.unparse(keyword.value) in ("False", "None"):
                yield f"{named}({keyword.arg}={ast.unparse(keyword.value)})"


def test_no_code_goes_around_time_outs_and_certificates() -> None:
    root = Path(recon.__file__).parent
    found = {
        f"{inside}: {what}"
        for path in sorted(root.rglob("*.py"))
        for inside in [path.relative_to(root).as_posix()]
        for what in _roundabouts(ast.parse(path.read_text("utf-8")), inside)
    }
    assert found == set()
    # The look itself sees what it looks for.
    bad = "import urllib.request\nrequests.get(u)\nsession.get(u, verify=False)\nrequests.Session()\nwait(timeout=None)"
    assert len(list(_roundabouts(ast.parse(bad), "x.py"))) == 5
