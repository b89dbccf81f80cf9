"""Logging in: three OAuth flows and the SOAP login, and the sessions that they open."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from xml.parsers import expat
from xml.sax.saxutils import escape

import jwt
from starlette.responses import JSONResponse, Response

from recon.sandbox.salesforce.errors import Fault
from recon.sandbox.salesforce.records import ADMIN
from recon.sandbox.salesforce.wire import fault_response, read_body, whole_number

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.requests import Request

    from recon.clock import Clock

#: SOAP login() is gone from this version on. Source: Salesforce release notes, Winter '26.
SOAP_RETIRED = 65
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Org:
    """The org's users, connected app and sizes.

    Attributes
    ----------
    username, password, security_token
        The one user. Where a security token is set, a login takes the password with the token appended.
    consumer_key, consumer_secret
        The one connected app.
    jwt_public_key
        The PEM of the certificate's key that signs JWT logins, or None: JWT is refused.
    jwt_clock
        The clock that a JWT's expiry is held against; None takes the store's. A client signs by its machine's clock.
    instance_url
        The org's address in answers; None takes the one that was called.
    session_length
        How long a session lasts, by the store's clock.
    soap_login
        Whether SOAP login() is switched on.
    max_upload
        The largest CSV of a Bulk ingest job, in bytes.
    ingest_batch
        Rows that an ingest job has written when it is first seen in progress; the rest follows with the next look.
    page_rows
        Rows of a page of Bulk results, where the caller names no number.
    query_rows
        Rows of a page of a REST query, where the caller names no number.
    """

    username: str = "admin@acme.example"
    password: str = "correct-horse"  # noqa: S105 - the sandbox's own
    security_token: str = "tokenTOKENtoken"  # noqa: S105 - the sandbox's own
    consumer_key: str = "3MVGsandboxconsumerkey"
    consumer_secret: str = "sandbox-consumer-secret"  # noqa: S105 - the sandbox's own
    jwt_public_key: str | None = None
    jwt_clock: Clock | None = None
    org_id: str = "00D5e000000AcmeEAK"
    user_id: str = ADMIN
    instance_url: str | None = None
    session_length: timedelta = timedelta(hours=2)
    soap_login: bool = True
    max_upload: int = 150_000_000
    ingest_batch: int = 10_000
    page_rows: int = 100_000
    query_rows: int = 2000


class LoginRefused(Exception):
    """An OAuth refusal: `error` and `error_description`."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


@dataclass(slots=True)
class Login:
    """The sessions of one org, and the endpoints that open them.

    Parameters
    ----------
    clock
        Tells when a session has ended.
    """

    org: Org
    clock: Clock
    _sessions: dict[str, datetime] = field(default_factory=dict)

    def open_session(self) -> str:
        """A new session's id."""
        session = f"{self.org.org_id[:15]}!AQ{secrets.token_urlsafe(48)}"
        self._sessions[session] = self.clock.now() + self.org.session_length
        return session

    def end_sessions(self) -> None:
        """End all sessions at once."""
        self._sessions.clear()

    def user_of(self, authorization: str | None) -> str:
        """The user of a request, by its Authorization header.

        Raises
        ------
        Fault
            401 ``INVALID_SESSION_ID``.
        """
        scheme, _, session = (authorization or "").partition(" ")
        ends = self._sessions.get(session) if scheme.lower() in ("bearer", "oauth") else None
        if ends is None or ends <= self.clock.now():
            raise Fault(401, "INVALID_SESSION_ID", "Session expired or invalid")
        return self.org.user_id

    async def token(self, request: Request) -> Response:
        """``POST /services/oauth2/token``."""
        try:
            form = parse_qs((await read_body(request, 100_000)).decode(), keep_blank_values=True)
            self._grant({name: values[0] for name, values in form.items()}, request.headers.get("authorization"))
        except Fault as fault:
            return fault_response(fault)
        except (LoginRefused, UnicodeDecodeError) as refused:
            error = refused.error if isinstance(refused, LoginRefused) else "invalid_request"
            return JSONResponse({"error": error, "error_description": str(refused)}, status_code=400)
        url = self._address(request)
        issued = str(int(self.clock.now().timestamp() * 1000))
        identity = f"{url}/id/{self.org.org_id}/{self.org.user_id}"
        signature = hmac.digest(self.org.consumer_secret.encode(), (identity + issued).encode(), "sha256")
        return JSONResponse(
            {
                "access_token": self.open_session(),
                "signature": base64.b64encode(signature).decode(),
                "scope": "api",
                "instance_url": url,
                "id": identity,
                "token_type": "Bearer",
                "issued_at": issued,
            },
            headers={"Cache-Control": "no-cache,must-revalidate,max-age=0,no-store,private"},
        )

    def _address(self, request: Request) -> str:
        return self.org.instance_url or f"{request.url.scheme}://{request.url.netloc}"

    def _grant(self, form: dict[str, str], authorization: str | None) -> None:
        match form.get("grant_type"):
            case "client_credentials":
                self._check_app(*_client(form, authorization))
            case "password":
                self._check_app(*_client(form, authorization))
                if not self._known(form.get("username", ""), form.get("password", "")):
                    raise LoginRefused("invalid_grant", "authentication failure")
            case grant if grant == _JWT_GRANT:
                self._check_jwt(form.get("assertion", ""))
            case _:
                raise LoginRefused("unsupported_grant_type", "grant type not supported")

    def _known(self, username: str, password: str) -> bool:
        return username == self.org.username and password == self.org.password + self.org.security_token

    def _check_app(self, key: str, secret: str) -> None:
        if key != self.org.consumer_key:
            raise LoginRefused("invalid_client_id", "client identifier invalid")
        if secret != self.org.consumer_secret:
            raise LoginRefused("invalid_client", "invalid client credentials")

    def _check_jwt(self, assertion: str) -> None:
        if self.org.jwt_public_key is None:
            raise LoginRefused("invalid_grant", "user hasn't approved this consumer")
        # The expiry is checked below, against the sandbox's clock.
        unchecked = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                self.org.jwt_public_key,
                algorithms=["RS256"],
                options=unchecked,  # type: ignore[arg-type] # a dict of its keys
            )
            expiry = float(claims.get("exp", 0))
        except (jwt.PyJWTError, TypeError, ValueError):
            raise LoginRefused("invalid_grant", "invalid assertion") from None
        if claims.get("iss") != self.org.consumer_key:
            raise LoginRefused("invalid_client_id", "client identifier invalid")
        if claims.get("aud") not in self._audiences():
            raise LoginRefused("invalid_grant", "audience is invalid")
        if claims.get("sub") != self.org.username:
            raise LoginRefused("invalid_grant", "user hasn't approved this consumer")
        if expiry <= (self.org.jwt_clock or self.clock).now().timestamp():
            raise LoginRefused("invalid_grant", "expired authorization code")

    def _audiences(self) -> set[str]:
        own = set() if self.org.instance_url is None else {self.org.instance_url}
        return {"https://login.salesforce.com", "https://test.salesforce.com"} | own

    async def soap(self, request: Request) -> Response:
        """``POST /services/Soap/u/{version}``: the call login()."""
        version = request.path_params["version"]
        number = whole_number(version.removesuffix(".0"))
        if number is None or number >= SOAP_RETIRED:
            return _soap_fault("UNSUPPORTED_API_VERSION", "Invalid Api version specified on URL")
        if not self.org.soap_login:
            return _soap_fault("INVALID_OPERATION", "SOAP API login() is disabled by default in this org.")
        try:
            found = _soap_login(await read_body(request, 100_000))
        except Fault as fault:
            return fault_response(fault)
        except expat.ExpatError:
            return _soap_fault("UNKNOWN_EXCEPTION", "The request can't be read as XML")
        if found is None:
            return _soap_fault("UNKNOWN_EXCEPTION", "No operation available for request")
        if not self._known(*found):
            message = "Invalid username, password, security token; or user locked out."
            return _soap_fault("INVALID_LOGIN", message)
        server = f"{self._address(request)}/services/Soap/u/{version}/{self.org.org_id}"
        return _soap(
            f"<loginResponse><result><metadataServerUrl>{escape(server.replace('/u/', '/m/'))}</metadataServerUrl>"
            f"<passwordExpired>false</passwordExpired><sandbox>false</sandbox><serverUrl>{escape(server)}</serverUrl>"
            f"<sessionId>{escape(self.open_session())}</sessionId><userId>{self.org.user_id}</userId>"
            f"<userInfo><organizationId>{self.org.org_id}</organizationId><userId>{self.org.user_id}</userId>"
            f"<userName>{escape(self.org.username)}</userName></userInfo></result></loginResponse>"
        )


def _client(form: dict[str, str], authorization: str | None) -> tuple[str, str]:
    """The consumer key and secret, from the form or the Basic header."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise LoginRefused("invalid_client", "invalid client credentials") from None
    return key, secret


def _soap_login(body: bytes) -> tuple[str, str] | None:
    """User name and password of a login envelope; None if it is another call."""
    values: dict[str, str] = {}
    path: list[str] = []

    def start(name: str, _attributes: dict[str, str]) -> None:
        path.append(name.rpartition("}")[2])

    def text(data: str) -> None:
        if path[-2:-1] == ["login"]:
            values[path[-1]] = values.get(path[-1], "") + data

    def end(_name: str) -> None:
        path.pop()

    def doctype(*_: object) -> None:
        raise expat.ExpatError("a document type is not allowed in SOAP")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    parser.Parse(body, True)
    if "username" not in values:
        return None
    return values["username"], values.get("password", "")


_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
    'xmlns:sf="urn:fault.partner.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "<soapenv:Body>{}</soapenv:Body></soapenv:Envelope>"
)


def _soap(content: str, status: int = 200) -> Response:
    return Response(_ENVELOPE.format(content), status_code=status, media_type="text/xml; charset=utf-8")


def _soap_fault(code: str, message: str) -> Response:
    return _soap(
        f"<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {escape(message)}</faultstring><detail>"
        f'<sf:LoginFault xsi:type="sf:LoginFault"><sf:exceptionCode>{code}</sf:exceptionCode>'
        f"<sf:exceptionMessage>{escape(message)}</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault>",
        500,
    )
