from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from recon.sandbox.salesforce.auth import Org
from recon.sandbox.salesforce.records import insert_contact
from tests.sandbox.sf_server import START, Server, Slot, serve

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@cache
def key_pair() -> tuple[str, str]:
    """A private and a public key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def envelope(username: str, password: str, *, call: str = "login", doctype: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8" ?>{doctype}'
        '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>'
        f'<n1:{call} xmlns:n1="urn:partner.soap.sforce.com"><n1:username>{username}</n1:username>'
        f"<n1:password>{password}</n1:password></n1:{call}></env:Body></env:Envelope>"
    )


def soap(sf: Server, body: str, version: str = "59.0") -> requests.Response:
    headers = {"Content-Type": "text/xml", "SOAPAction": "login"}
    return requests.post(f"{sf.url}/services/Soap/u/{version}", body.encode(), headers=headers, timeout=10)


def works(sf: Server, session: str) -> bool:
    answer = requests.get(
        f"{sf.url}/services/data/v62.0/limits", headers={"Authorization": f"Bearer {session}"}, timeout=10
    )
    return answer.status_code == 200


def refused(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def test_client_credentials_in_the_form_or_in_a_basic_header(sf: Server) -> None:
    form = {"grant_type": "client_credentials"}
    url = f"{sf.url}/services/oauth2/token"
    in_header = requests.post(url, form, auth=(sf.org.consumer_key, sf.org.consumer_secret), timeout=10).json()
    in_form = sf.token(client_id=sf.org.consumer_key, client_secret=sf.org.consumer_secret, **form).json()
    for answer in (in_header, in_form):
        assert works(sf, answer["access_token"])
        assert answer["instance_url"] == sf.url
        assert answer["token_type"] == "Bearer"
        assert answer["id"] == f"{sf.url}/id/{sf.org.org_id}/{sf.org.user_id}"
        assert answer["issued_at"] == str(int(START.timestamp() * 1000))
    assert in_header["access_token"] != in_form["access_token"]


def test_user_and_password_with_the_token_appended(sf: Server) -> None:
    app = {"grant_type": "password", "client_id": sf.org.consumer_key, "client_secret": sf.org.consumer_secret}
    whole = sf.org.password + sf.org.security_token
    assert works(sf, sf.token(username=sf.org.username, password=whole, **app).json()["access_token"])
    for username, password in ((sf.org.username, sf.org.password), ("other@acme.example", whole), ("", "")):
        assert refused(sf.token(username=username, password=password, **app)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "invalid_client_id"),
        ({"grant_type": "client_credentials", "client_id": "3MVGsandboxconsumerkey"}, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"}, "invalid_client_id"),
        ({"grant_type": JWT_GRANT}, "invalid_grant"),
    ],
)
def test_logins_that_are_refused(sf: Server, form: dict[str, str], error: str) -> None:
    assert refused(sf.token(**form)) == (400, error)


def test_a_login_that_cant_be_read_is_refused(sf: Server) -> None:
    url = f"{sf.url}/services/oauth2/token"
    assert requests.post(url, b"\xff\xfe=1", timeout=10).json()["error"] == "invalid_request"
    bad_basic = {"Authorization": "Basic ???"}
    answer = requests.post(url, {"grant_type": "client_credentials"}, headers=bad_basic, timeout=10)
    assert refused(answer) == (400, "invalid_client")
    too_long = requests.post(url, b"a" * 100_001, timeout=10)
    assert too_long.status_code == 413


class TestJwt:
    @pytest.fixture
    def org(self) -> Org:
        return Org(jwt_public_key=key_pair()[1])

    def assertion(self, sf: Server, key: str | None = None, **changed: Any) -> str:
        claims = {
            "iss": sf.org.consumer_key,
            "sub": sf.org.username,
            "aud": "https://login.salesforce.com",
            "exp": str(int((START + timedelta(minutes=3)).timestamp())),
        }
        return jwt.encode(claims | changed, key or key_pair()[0], algorithm="RS256")

    def test_login(self, sf: Server) -> None:
        answer = sf.token(grant_type=JWT_GRANT, assertion=self.assertion(sf))
        assert works(sf, answer.json()["access_token"])
        sandbox = sf.token(grant_type=JWT_GRANT, assertion=self.assertion(sf, aud="https://test.salesforce.com"))
        assert sandbox.status_code == 200

    @pytest.mark.parametrize(
        ("claims", "error", "words"),
        [
            ({"exp": int(START.timestamp())}, "invalid_grant", "expired authorization code"),
            ({"exp": None}, "invalid_grant", "invalid assertion"),
            ({"iss": "another app"}, "invalid_client_id", "client identifier invalid"),
            ({"sub": "other@acme.example"}, "invalid_grant", "user hasn't approved this consumer"),
            ({"aud": "https://acme.my.salesforce.com"}, "invalid_grant", "audience is invalid"),
        ],
    )
    def test_a_claim_that_is_wrong(self, sf: Server, claims: dict[str, Any], error: str, words: str) -> None:
        answer = sf.token(grant_type=JWT_GRANT, assertion=self.assertion(sf, **claims))
        assert refused(answer) == (400, error)
        assert answer.json()["error_description"] == words

    def test_another_key_or_algorithm(self, sf: Server) -> None:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        unsigned = jwt.encode({"iss": sf.org.consumer_key}, "", algorithm="none")
        for assertion in (self.assertion(sf, other.decode()), unsigned, "", "a.b.c"):
            answer = sf.token(grant_type=JWT_GRANT, assertion=assertion)
            assert answer.json()["error_description"] == "invalid assertion"

    def test_the_expiry_is_held_against_its_own_clock_if_there_is_one(self, sf_slot: Slot) -> None:
        class Later:
            def now(self) -> Any:
                return START + timedelta(days=1)

        with serve(sf_slot, Org(jwt_public_key=key_pair()[1], jwt_clock=Later())) as sf:
            assert sf.token(grant_type=JWT_GRANT, assertion=self.assertion(sf)).status_code == 400


def test_an_org_without_a_certificate_refuses_jwt(sf: Server) -> None:
    answer = sf.token(grant_type=JWT_GRANT, assertion=TestJwt().assertion(sf))
    assert answer.json() == {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"}


class TestSoap:
    @pytest.mark.parametrize("version", ["59.0", "64.0"])
    def test_login(self, sf: Server, version: str) -> None:
        answer = soap(sf, envelope(sf.org.username, sf.org.password + sf.org.security_token), version)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
        session = answer.text.partition("<sessionId>")[2].partition("</sessionId>")[0]
        assert works(sf, session)
        assert f"<serverUrl>{sf.url}/services/Soap/u/{version}/{sf.org.org_id}</serverUrl>" in answer.text

    @pytest.mark.parametrize("version", ["65.0", "66.0", "x", "²"])
    def test_gone_from_65_on(self, sf: Server, version: str) -> None:
        answer = soap(sf, envelope(sf.org.username, sf.org.password + sf.org.security_token), version)
        assert answer.status_code == 500
        assert "<sf:exceptionCode>UNSUPPORTED_API_VERSION</sf:exceptionCode>" in answer.text

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (envelope("admin@acme.example", "wrong"), "INVALID_LOGIN"),
            (envelope("admin@acme.example", "correct-horse"), "INVALID_LOGIN"),
            (envelope("a", "b", call="logout"), "UNKNOWN_EXCEPTION"),
            ("not xml", "UNKNOWN_EXCEPTION"),
            (envelope("a", "b", doctype='<!DOCTYPE x [<!ENTITY a "b">]>'), "UNKNOWN_EXCEPTION"),
        ],
    )
    def test_what_is_refused(self, sf: Server, body: str, code: str) -> None:
        answer = soap(sf, body)
        assert answer.status_code == 500
        assert f"<sf:exceptionCode>{code}</sf:exceptionCode>" in answer.text
        assert "sessionId" not in answer.text

    def test_markup_in_a_password(self, sf_slot: Slot) -> None:
        with serve(sf_slot, Org(password='a<b>&"c', security_token="")) as sf:
            assert "<sessionId>" in soap(sf, envelope(sf.org.username, "a&lt;b&gt;&amp;&quot;c")).text

    def test_it_can_be_switched_off(self, sf_slot: Slot) -> None:
        with serve(sf_slot, Org(soap_login=False)) as sf:
            answer = soap(sf, envelope(sf.org.username, sf.org.password + sf.org.security_token))
        assert "INVALID_OPERATION" in answer.text


class TestSessions:
    def test_a_session_ends_by_the_clock(self, sf: Server) -> None:
        sf.clock.advance(sf.org.session_length - timedelta(seconds=1))
        assert sf.call("GET", "/limits").status_code == 200
        sf.clock.advance(timedelta(seconds=1))
        message = sf.refused(401, "INVALID_SESSION_ID", "GET", "/limits")
        assert message == "Session expired or invalid"
        sf.login()
        assert sf.call("GET", "/limits").status_code == 200

    def test_all_sessions_can_be_ended(self, sf: Server) -> None:
        sf.app.state.login.end_sessions()
        sf.refused(401, "INVALID_SESSION_ID", "GET", "/limits")

    @pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic abc", "abc"])
    def test_without_a_session(self, sf: Server, header: str | None) -> None:
        for path in ("/limits", "/nowhere", ""):
            sf.refused(401, "INVALID_SESSION_ID", "GET", path, headers={"Authorization": header})

    def test_the_old_scheme_is_taken(self, sf: Server) -> None:
        session = str(sf.http.headers["Authorization"]).partition(" ")[2]
        assert sf.call("GET", "/limits", headers={"Authorization": f"OAuth {session}"}).status_code == 200

    def test_nothing_is_written_without_one(self, sf: Server) -> None:
        contact = insert_contact(sf.store, LastName="Lovelace")
        sf.app.state.login.end_sessions()
        row = {"attributes": {"type": "Contact"}, "id": contact, "HasOptedOutOfEmail": True}
        sf.refused(401, "INVALID_SESSION_ID", "PATCH", f"/sobjects/Contact/{contact}", json={"LastName": "X"})
        sf.refused(401, "INVALID_SESSION_ID", "PATCH", "/composite/sobjects", json={"records": [row]})
        sf.refused(401, "INVALID_SESSION_ID", "DELETE", f"/sobjects/Contact/{contact}")
        sf.login()
        assert sf.rows("SELECT LastName, HasOptedOutOfEmail FROM Contact") == [
            {"LastName": "Lovelace", "HasOptedOutOfEmail": False}
        ]

    def test_a_large_body_gets_its_refusal_too(self, sf: Server) -> None:
        sf.app.state.login.end_sessions()
        sf.refused(401, "INVALID_SESSION_ID", "PUT", "/jobs/ingest/750000000000000/batches", data=b"x" * 30_000_000)
