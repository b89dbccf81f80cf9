"""Logging in to Salesforce and calling it, over real HTTP: what is retried, what isn't, and what a message may say."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from recon.clock import SystemClock
from recon.errors import AccessRefused, SettingsError, SourceError, UsageError
from recon.sandbox.salesforce.app import create_app
from recon.sandbox.salesforce.auth import Org
from recon.secrets import redacted
from recon.settings import SalesforceSettings
from recon.sources.http import LONGEST_WAIT, ReadingAdapter, SandboxAdapter, is_loopback, new_session
from recon.sources.salesforce_session import LOGINS, connect

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from tests.sources.conftest import Acme, Answer, Serve

USER = "admin@acme.example"


def limits(acme: Acme, **values: Any) -> Any:
    connection = acme.connect(**values)
    try:
        return connection.get("the limits", "limits")
    finally:
        connection.close()


@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
def test_logs_in_once_and_then_needs_no_login(acme: Acme, login: str) -> None:
    connection = acme.connect(login=login, username=USER)
    assert connection.client.auth_type == "direct"
    for _ in range(3):
        assert connection.get("the limits", "limits")["DailyApiRequests"]["Max"] > 0
    assert connection.calls == 4
    assert connection.api_usage is not None
    assert sum(1 for _, target in acme.wire.asked if "oauth2" in target or "Soap" in target) == 1
    connection.close()


def test_soap_says_that_it_ends(acme: Acme, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recon"):
        acme.connect(login="soap", username=USER).close()
    assert "1 June 2027" in caplog.text


def test_soap_asks_a_version_that_still_has_the_login(acme: Acme) -> None:
    acme.connect(login="soap", username=USER, api_version="66.0").close()
    assert acme.asked("POST", "/Soap/u/64.0") == 1


def test_jwt_signs_with_the_key_of_the_file(acme: Acme, serve: Serve, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path / "key.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file.chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    # The client signs by the machine's clock, whatever the sandbox's says.
    url = serve(create_app(acme.store, Org(jwt_public_key=public.decode(), jwt_clock=SystemClock())))
    environ = {"RECON_SF_CONSUMER_KEY": "3MVGsandboxconsumerkey", "RECON_SF_PRIVATE_KEY_FILE": str(file)}
    acme.connect(environ, instance_url=url, login="jwt", username=USER).close()
    text = acme.refused(SourceError, lambda: acme.connect(environ, login="jwt", username=USER))
    assert "invalid_grant" in text
    assert "certificate" in text
    file.write_text("no key")
    text = acme.refused(SettingsError, lambda: acme.connect(environ, login="jwt", username=USER))
    assert "RECON_SF_PRIVATE_KEY_FILE" in text
    file.unlink()
    text = acme.refused(SettingsError, lambda: acme.connect(environ, login="jwt", username=USER))
    assert "(RECON_SF_PRIVATE_KEY_FILE): " in text
    assert "No such file" in text


@pytest.mark.parametrize(
    ("login", "missing"),
    [
        ("client_credentials", "RECON_SF_CONSUMER_KEY"),
        ("client_credentials", "RECON_SF_CONSUMER_SECRET"),
        ("password", "RECON_SF_PASSWORD"),
        ("password", "RECON_SF_CONSUMER_SECRET"),
        ("soap", "RECON_SF_PASSWORD"),
        ("jwt", "RECON_SF_PRIVATE_KEY_FILE"),
    ],
)
def test_a_missing_secret_is_named_by_its_variable(acme: Acme, login: str, missing: str) -> None:
    environ = {
        "RECON_SF_CONSUMER_KEY": "3MVGsandboxconsumerkey",
        "RECON_SF_CONSUMER_SECRET": "sandbox-consumer-secret",
        "RECON_SF_PASSWORD": "correct-horse",
        "RECON_SF_PRIVATE_KEY_FILE": "/nowhere",
    }
    environ[missing] = " "
    text = acme.refused(SettingsError, lambda: acme.connect(environ, login=login, username=USER))
    assert missing in text
    assert acme.wire.asked == []


def test_a_missing_user_name_is_named(acme: Acme) -> None:
    assert "salesforce.username" in acme.refused(SettingsError, lambda: acme.connect(login="password"))


@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
def test_a_refused_login_says_the_code_and_no_secret(acme: Acme, login: str) -> None:
    wrong = dict.fromkeys(
        ("RECON_SF_CONSUMER_KEY", "RECON_SF_CONSUMER_SECRET", "RECON_SF_PASSWORD"), "wrong-but-private"
    )
    text = acme.refused(SourceError, lambda: acme.connect(wrong, login=login, username=USER))
    assert f"refused the login ({login})" in text
    assert "wrong-but-private" not in text


@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize(
    "page", [b"<html>Sign in, ann@acme.example</html>", b"<p>Sign in<br>ann@acme.example", b"", b"null"]
)
def test_a_login_page_instead_of_a_login_is_a_sentence(acme: Acme, login: str, status: int, page: bytes) -> None:
    def alter(_method: str, target: str, answer: Answer) -> None:
        answer.status, answer.body = status, page

    acme.wire.alter = alter
    text = acme.refused(SourceError, lambda: acme.connect(login=login, username=USER))
    assert "can't be read" in text or "holds no session" in text
    assert "instance_url" in text


@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
def test_a_login_whose_answer_broke_off_is_made_again(acme: Acme, login: str) -> None:
    left = [2]

    def alter(_method: str, target: str, answer: Answer) -> None:
        if "/services/" in target and left[0] > 0:
            left[0] -= 1
            answer.body = answer.body[: len(answer.body) * left[0] // 2]

    acme.wire.alter = alter
    acme.connect(login=login, username=USER).close()
    assert acme.asked("POST", "/services/") == 3


def test_a_login_without_a_session_is_a_sentence(acme: Acme) -> None:
    acme.wire.alter = lambda _method, _target, answer: answer.set_json({"instance_url": "x"})
    assert "no session" in acme.refused(SourceError, acme.connect)


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.my.salesforce.com",
        "http://127.0.0.1.nip.io:80",
        "https://acme.example.com",
        "https://salesforce.com.example.com",
        "https://user:pw@acme.my.salesforce.com",
        "acme.my.salesforce.com",
        "https://acme.lightning.force.com",
        "https://acme.my.salesforce.com:99999",
    ],
)
def test_secrets_go_to_salesforce_over_tls_or_to_loopback(acme: Acme, url: str) -> None:
    text = acme.refused(SettingsError, lambda: acme.connect(instance_url=url))
    assert "salesforce.instance_url" in text


def test_loopback_is_this_machine_alone() -> None:
    assert all(is_loopback(f"http://{host}") for host in ("127.0.0.1:80", "[::1]:80", "localhost"))
    assert not any(is_loopback(f"http://{host}") for host in ("10.0.0.1", "0.0.0.0", "localhost.example.com", ""))
    with pytest.raises(UsageError, match="not the address of a sandbox"):
        SandboxAdapter(
            base_url="https://acme.example.com", connect_timeout=1, read_timeout=1, retries=0, backoff_seconds=0
        )


def test_an_address_is_needed() -> None:
    with pytest.raises(SettingsError, match="instance_url is not set"):
        connect(SalesforceSettings(), environ={})


def test_a_session_is_a_secret_too(acme: Acme) -> None:
    connection = acme.connect()
    sessions = [connection.client.session_id]
    connection.log_in()
    sessions.append(connection.client.session_id)
    connection.close()
    assert len(set(sessions)) == 2
    assert redacted(" ".join(sessions)) == "[secret] [secret]"


def test_an_ended_session_is_renewed(acme: Acme) -> None:
    connection = acme.connect()
    for _ in range(2):
        acme.end_sessions()
        assert connection.get("the limits", "limits")
    assert acme.asked("POST", "/services/oauth2/token") == 3
    connection.close()


def test_a_session_that_is_never_good_ends_it(acme: Acme) -> None:
    connection = acme.connect()
    acme.wire.before = lambda _method, target: acme.end_sessions() if "limits" in target else None
    text = acme.refused(SourceError, lambda: connection.get("the limits", "limits"))
    assert "status 401, INVALID_SESSION_ID" in text
    assert acme.asked("GET", "/limits") == 2
    for _ in range(LOGINS - 2):
        acme.refused(SourceError, lambda: connection.get("the limits", "limits"))
    assert f"ended the session {LOGINS} times" in acme.refused(
        SourceError, lambda: connection.get("the limits", "limits")
    )
    assert acme.asked("POST", "/services/oauth2/token") == LOGINS
    connection.close()


def spoil(acme: Acme, part: str, times: int, status: int, body: Any = None, **headers: str) -> None:
    """Answer the next requests for a path with an error."""
    left = [times]

    def alter(_method: str, target: str, answer: Answer) -> None:
        if part in target and left[0] > 0:
            left[0] -= 1
            answer.status = status
            answer.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
            answer.set_json(body or [{"errorCode": "SERVER_UNAVAILABLE", "message": "ann@acme.example"}])

    acme.wire.alter = alter


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_salesforce_is_asked_again(acme: Acme, status: int) -> None:
    spoil(acme, "/limits", 2, status, retry_after="0")
    assert limits(acme)
    assert acme.asked("GET", "/limits") == 3


def test_every_further_try_waits_twice_as_long_the_first_one_too(acme: Acme) -> None:
    connection = acme.connect(backoff_seconds=0.5, retries=3)
    spoil(acme, "/limits", 3, 503)
    assert connection.get("the limits", "limits")
    assert acme.slept == [0.5, 1, 2]
    connection.close()


def test_but_not_for_ever(acme: Acme) -> None:
    spoil(acme, "/limits", 99, 503)
    text = acme.refused(SourceError, lambda: limits(acme))
    assert "status 503, SERVER_UNAVAILABLE" in text
    assert acme.asked("GET", "/limits") == 3


@pytest.mark.parametrize("status", [400, 409, 501])
def test_other_errors_are_not_repeated(acme: Acme, status: int) -> None:
    spoil(acme, "/limits", 9, status, [{"errorCode": "UNKNOWN_EXCEPTION", "message": "ann@acme.example"}])
    assert f"status {status}, UNKNOWN_EXCEPTION" in acme.refused(SourceError, lambda: limits(acme))
    assert acme.asked("GET", "/limits") == 1


def test_reads_and_steps_of_jobs_are_repeated_and_writes_never(acme: Acme) -> None:
    connection = acme.connect()
    spoil(acme, "/jobs/query", 9, 503)
    acme.refused(SourceError, lambda: connection.request("a job", "POST", "jobs/query", json={}))
    assert acme.asked("POST", "/jobs/query") == 3
    spoil(acme, "/sobjects/Lead/", 9, 503)
    assert connection.write_once("PATCH", "sobjects/Lead/00Q5e00000000001AA", json={}).status_code == 503
    assert acme.asked("PATCH", "/sobjects/Lead/") == 1
    connection.close()


def test_a_step_of_a_job_waits_as_long_as_it_is_asked_to(acme: Acme) -> None:
    connection = acme.connect(backoff_seconds=2)
    spoil(acme, "/jobs/query", 1, 429, Retry_After="7")
    body = {"operation": "query", "query": "SELECT Id FROM Lead"}
    assert connection.request("a job", "POST", "jobs/query", json=body).json()["id"]
    # What an earlier answer asked for is no longer asked for.
    spoil(acme, "/jobs/query", 1, 503)
    assert connection.request("a job", "POST", "jobs/query", json=body).json()["id"]
    assert acme.slept == [7, 2]
    connection.close()


@pytest.mark.parametrize("body", [b"null", b"[]", b"{}"])
def test_an_answer_that_says_nothing_is_a_sentence(acme: Acme, body: bytes) -> None:
    def alter(_method: str, target: str, answer: Answer) -> None:
        if "/describe" in target:
            answer.body = body

    acme.wire.alter = alter
    assert "description of Lead lists no fields" in acme.refused(SourceError, acme.pull)


ELSEWHERE = "https://elsewhere.my.salesforce.com/here"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
def test_a_login_is_never_sent_on_to_another_address(acme: Acme, login: str, status: int) -> None:
    spoil(acme, "/services/", 1, status, Location=ELSEWHERE)
    text = acme.refused(SourceError, lambda: acme.connect(login=login, username=USER))
    assert "instance_url" in text
    assert len(acme.wire.asked) == 1


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_read_from_another_address(acme: Acme, method: str, status: int) -> None:
    connection = acme.connect()
    acme.wire.asked.clear()
    spoil(acme, "/jobs/query", 1, status, Location=ELSEWHERE)
    text = acme.refused(SourceError, lambda: connection.request("the jobs", method, "jobs/query"))
    assert f"status {status}" in text
    assert "login page" in text
    assert len(acme.wire.asked) == 1
    connection.close()


LOGIN = "/services/"


@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
def test_a_login_that_meets_a_busy_system_is_tried_again_with_patience(acme: Acme, login: str) -> None:
    spoil(acme, LOGIN, 2, 503, Retry_After="7")
    acme.connect(login=login, username=USER).close()
    assert acme.slept == [7.0, 7.0]
    assert acme.asked("POST", LOGIN) == 3


@pytest.mark.parametrize("login", ["client_credentials", "soap"])
def test_a_system_that_stays_busy_is_told(acme: Acme, login: str) -> None:
    spoil(acme, LOGIN, 9, 503)
    text = acme.refused(SourceError, lambda: acme.connect(login=login, username=USER))
    assert "Salesforce could not be logged in to: status 503." in text
    assert acme.asked("POST", LOGIN) == 3


@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
def test_a_refused_login_is_never_repeated(acme: Acme, login: str) -> None:
    wrong = dict.fromkeys(("RECON_SF_CONSUMER_KEY", "RECON_SF_CONSUMER_SECRET", "RECON_SF_PASSWORD"), "wrong")
    acme.refused(SourceError, lambda: acme.connect(wrong, login=login, username=USER))
    assert acme.asked("POST", LOGIN) == 1
    assert acme.slept == []


def test_a_right_that_is_missing_is_told_from_a_limit(acme: Acme) -> None:
    spoil(acme, "/limits", 1, 403, [{"errorCode": "API_DISABLED_FOR_ORG", "message": "x"}])
    assert "API Enabled" in acme.refused(AccessRefused, lambda: limits(acme))
    spoil(acme, "/limits", 1, 403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "x"}])
    assert "24 hours" in acme.refused(SourceError, lambda: limits(acme))


def test_an_error_that_is_no_json_shows_nothing_of_itself(acme: Acme) -> None:
    def alter(_method: str, target: str, answer: Answer) -> None:
        if "limits" in target:
            answer.status, answer.body = 418, b"ann@acme.example was here"

    acme.wire.alter = alter
    assert "status 418." in acme.refused(SourceError, lambda: limits(acme))

    def page(_method: str, target: str, answer: Answer) -> None:
        if "limits" in target:
            answer.body = b"<html>ann@acme.example</html>"

    acme.wire.alter = page
    assert "not JSON" in acme.refused(SourceError, lambda: limits(acme))


@pytest.mark.parametrize(("status", "kind"), [(401, SourceError), (403, AccessRefused), (404, SourceError)])
def test_a_proxys_refusal_in_html_is_a_sentence(acme: Acme, status: int, kind: type[SourceError]) -> None:
    def alter(_method: str, target: str, answer: Answer) -> None:
        if "limits" in target:
            answer.status, answer.body = status, b"<html>Sign in, ann@acme.example</html>"

    acme.wire.alter = alter
    assert f"status {status}" in acme.refused(kind, lambda: limits(acme))


def test_a_server_that_says_nothing_is_given_up(acme: Acme, serve: Serve) -> None:
    async def silent(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    url = serve(silent)
    text = acme.refused(SourceError, lambda: acme.connect(instance_url=url, read_timeout=0.05, retries=0))
    assert "didn't answer in time" in text


def test_a_read_that_timed_out_is_made_again(acme: Acme, serve: Serve) -> None:
    asked: list[str] = []

    async def slow_once(scope: Scope, receive: Receive, send: Send) -> None:
        if "limits" in scope["path"]:
            asked.append(scope["path"])
            if len(asked) == 1:
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
        await acme.wire(scope, receive, send)

    assert limits(acme, instance_url=serve(slow_once), read_timeout=0.5)
    assert len(asked) == 2


def test_an_answer_that_breaks_off_is_asked_for_again(acme: Acme, serve: Serve) -> None:
    breaks = [1]

    async def cut(scope: Scope, receive: Receive, send: Send) -> None:
        if "limits" not in scope["path"] or breaks[0] == 0:
            await acme.wire(scope, receive, send)
            return
        breaks[0] -= 1
        headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"DailyApi', "more_body": True})
        raise ConnectionAbortedError

    url = serve(cut)
    assert limits(acme, instance_url=url, backoff_seconds=3)
    assert acme.slept == [3]
    breaks[0] = 99
    text = acme.refused(SourceError, lambda: limits(acme, instance_url=url))
    assert "its answer broke off" in text


def test_an_answer_that_broke_off_before_it_began_is_asked_for_again(acme: Acme) -> None:
    left = [2]

    def alter(_method: str, target: str, answer: Answer) -> None:
        if "limits" in target and left[0] > 0:
            left[0] -= 1
            answer.body = b""

    acme.wire.alter = alter
    assert limits(acme)
    left[0] = 9
    assert "its answer broke off" in acme.refused(SourceError, lambda: limits(acme))
    assert acme.asked("GET", "/limits") == 6


def test_a_session_of_the_callers_keeps_what_it_has(acme: Acme) -> None:
    session = requests.Session()
    session.headers["X-Trace"] = "42"
    seen: list[str] = []
    session.hooks["response"].append(lambda response, **_: seen.append(response.request.headers["X-Trace"]))
    connection = connect(acme.settings(), environ=acme.environ, session=session)
    connection.get("the limits", "limits")
    connection.close()
    assert seen == ["42", "42"]
    assert len(session.hooks["response"]) == 1
    session.close()


def test_nobody_there_is_a_sentence(acme: Acme) -> None:
    text = acme.refused(SourceError, lambda: acme.connect(instance_url="http://127.0.0.1:9", retries=0))
    assert "no connection" in text


def test_retry_after_has_a_limit() -> None:
    adapter = ReadingAdapter(connect_timeout=1, read_timeout=1, retries=1, backoff_seconds=0)

    class Busy:
        headers = {"Retry-After": "86400"}  # noqa: RUF012 - stands for an answer, is never changed

    assert adapter.max_retries.get_retry_after(Busy()) == LONGEST_WAIT  # type: ignore[arg-type]  # only its headers are read
    adapter.close()


def test_a_netrc_does_not_replace_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    adapter = ReadingAdapter(connect_timeout=1, read_timeout=1, retries=0, backoff_seconds=0)
    session = new_session(adapter)
    asked = requests.Request("GET", "https://acme.my.salesforce.com/", headers={"Authorization": "Bearer session"})
    assert session.trust_env
    assert session.prepare_request(asked).headers["Authorization"] == "Bearer session"
    with pytest.raises(requests.exceptions.InvalidSchema):
        session.get("http://acme.my.salesforce.com/")
    session.close()
