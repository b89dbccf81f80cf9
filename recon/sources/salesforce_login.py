"""Logging in to Salesforce: which secrets each way needs, where it goes, and what a refusal means.

The logins themselves are simple-salesforce's. Secrets come under the names that the settings give, see `recon.secrets`.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import jwt
import requests
from simple_salesforce.exceptions import SalesforceAuthenticationFailed
from simple_salesforce.login import SalesforceLogin

from recon.errors import SettingsError, SourceError
from recon.secrets import private_key, remember
from recon.sources.http import BUSY, asked_wait, broke_off, broken, is_loopback, no_answer, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recon.settings import SalesforceSettings

log = logging.getLogger(__name__)

#: What the sandbox is called where simple-salesforce wants a host; requests for it go to the sandbox.
SANDBOX_HOST = "sandbox.my.salesforce.com"
#: The last version of the API that has SOAP login().
_LAST_SOAP_LOGIN = 64.0
#: What simple-salesforce makes of a SOAP answer that holds neither a session nor a fault; of one that is no JSON or XML it makes its status.
_NO_CODE = "UNKNOWN_EXCEPTION_CODE"
#: Salesforce's own error codes, which may be shown: they name nobody.
CODE = re.compile(r"[A-Za-z][A-Za-z_]{2,59}")


@dataclass(frozen=True, slots=True)
class _Hosts:
    """Where to log in, as simple-salesforce wants it: the part of a host before .salesforce.com."""

    my_domain: str
    audience: str


def is_salesforce(url: str) -> bool:
    """Whether an address lies at salesforce.com."""
    return (urlsplit(url).hostname or "").endswith(".salesforce.com")


def _hosts(base: str) -> _Hosts:
    if is_loopback(base):
        return _Hosts(SANDBOX_HOST.removesuffix(".salesforce.com"), "login")
    host = urlsplit(base).hostname or ""
    if not is_salesforce(base) or urlsplit(base).port not in (None, 443):
        raise SettingsError(
            "salesforce.instance_url is not an address at salesforce.com.",
            hint="Write the org's My Domain address, like https://acme.my.salesforce.com (Setup > My Domain).",
        )
    return _Hosts(host.removesuffix(".salesforce.com"), "test" if ".sandbox." in host else "login")


def log_in(
    settings: SalesforceSettings,
    environ: Mapping[str, str],
    session: requests.Session,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, str]:
    """Log in: once, or again where Salesforce was busy, or no whole answer came.

    Such a login opened no session, or one that nobody knows and that ends by itself. One that Salesforce refuses is never repeated: after a few
    of those it locks the user out.

    Parameters
    ----------
    settings
        How to log in, and where.
    environ
        Holds the secrets.
    session
        Sends the request.
    sleep
        Waits before it is tried again.

    Returns
    -------
    tuple
        The session id and the instance's host.

    Raises
    ------
    SettingsError
        If a secret or a setting is missing or can't be used; the text names the setting or the variable.
    SourceError
        If Salesforce can't be reached, refuses, or gives no session.
    """
    arguments = _credentials(settings, environ)
    for attempt in range(settings.retries + 1):
        answered = _Answered()
        session.hooks["response"].append(answered)
        try:
            return _log_in_once(settings, session, arguments)
        except SourceError as error:
            busy = answered.status in BUSY and not _refuses(settings, error)
            # An answer without a word of Salesforce's own may have broken off; it refuses nothing.
            broken_off = answered.status == requests.codes.ok and error.code is None
            if not (busy or broken_off):
                raise
            if attempt == settings.retries:
                raise _too_busy(answered.status) if busy else error from None
        except requests.RequestException as error:
            if attempt == settings.retries or not (broke_off(error) or no_answer(error)):
                raise broken("Salesforce", "the login", error) from None
        finally:
            session.hooks["response"].remove(answered)
        sleep(max(answered.wait, settings.backoff_seconds * 2**attempt))
    raise AssertionError("the last try returns or raises")


class _Answered:
    """Keeps of an answer what simple-salesforce's errors don't tell: its status, None where none came, and how long it asks to wait."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.wait = 0.0

    def __call__(self, response: requests.Response, *_args: object, **_options: object) -> None:
        self.status, self.wait = response.status_code, asked_wait(response.headers)


def _refuses(settings: SalesforceSettings, error: SourceError) -> bool:
    """Whether an answer of status 500 refuses the login all the same: SOAP's refusals have that status, and a code."""
    return settings.login == "soap" and error.code is not None


def _too_busy(status: int | None) -> SourceError:
    return SourceError(
        f"Salesforce could not be logged in to: status {status}.",
        hint="Salesforce is busy or in maintenance; every try that the settings allow was made. Run again later.",
        status=status,
    )


def _log_in_once(settings: SalesforceSettings, session: requests.Session, arguments: dict[str, Any]) -> tuple[str, str]:
    with warnings.catch_warnings():
        # simple-salesforce warns about an app that isn't approved yet, with the consumer key in the text; `_login_refused` says it.
        warnings.simplefilter("ignore")
        try:
            found: tuple[object, object] = SalesforceLogin(session=session, **arguments)
        except SalesforceAuthenticationFailed as error:
            raise _login_refused(settings, error.code) from None
        except requests.RequestException:  # some are ValueErrors
            raise
        except ExpatError:  # of SOAP
            raise _unreadable() from None
        except (jwt.PyJWTError, ValueError, TypeError):
            if settings.login != "jwt":
                raise _unreadable() from None
            raise SettingsError(
                f"the connected app's private key ({settings.private_key_file_env}) is not an RSA key.",
                hint="Use the key whose certificate was uploaded to the connected app.",
            ) from None
        except AttributeError:  # simple-salesforce, of an answer without instance_url
            found = (None, None)
    session_id, instance = found
    if not isinstance(session_id, str) or not session_id or not isinstance(instance, str):
        raise SourceError("Salesforce's answer to the login holds no session.", hint="Check salesforce.instance_url.")
    return session_id, instance


def _credentials(settings: SalesforceSettings, environ: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of SalesforceLogin for the way of logging in that is set."""
    hosts = _hosts(settings.instance_url or "")

    def named(field: str, holds: str) -> str:
        return secret(environ, getattr(settings, field), setting=f"salesforce.{field}", holds=holds)

    if settings.login == "client_credentials":
        return {
            "domain": hosts.my_domain,
            "consumer_key": named("consumer_key_env", "the connected app's consumer key"),
            "consumer_secret": named("consumer_secret_env", "the connected app's consumer secret"),
        }
    if settings.username is None:
        raise SettingsError(
            f"salesforce.username is not set, and salesforce.login = '{settings.login}' needs it.",
            hint="Write the integration user's name.",
        )
    if settings.login == "jwt":
        key = private_key(
            environ,
            settings.private_key_file_env,
            settings.private_key_passphrase_env,
            setting="salesforce.private_key_file_env",
            holds="the connected app's private key",
        )
        return {
            "domain": hosts.audience,
            "instance_url": hosts.my_domain,
            "username": settings.username,
            "consumer_key": named("consumer_key_env", "the connected app's consumer key"),
            "privatekey": key,
        }
    password = named("password_env", "the user's password")
    token = environ.get(settings.security_token_env, "").strip()
    remember(token)
    if settings.login == "password":
        return {
            "domain": hosts.my_domain,
            "username": settings.username,
            "password": password + token,  # Salesforce wants the token at the password's end
            "consumer_key": named("consumer_key_env", "the connected app's consumer key"),
            "consumer_secret": named("consumer_secret_env", "the connected app's consumer secret"),
        }
    log.warning(
        "SOAP login ends on 1 June 2027 (Salesforce's Summer '27 release) and is off in new orgs: set salesforce.login to client_credentials or jwt before then."
    )
    version = min(float(settings.api_version), _LAST_SOAP_LOGIN)
    return {
        "domain": hosts.my_domain,
        "username": settings.username,
        "password": password,
        "security_token": token,
        "sf_version": f"{version:.1f}",
    }


def _unreadable() -> SourceError:
    return SourceError(
        "Salesforce answered the login with something that can't be read.",
        hint="Check salesforce.instance_url; a proxy or a login page may answer in Salesforce's place.",
    )


def _login_refused(settings: SalesforceSettings, code: object) -> SourceError:
    text = str(code).removeprefix("sf:")
    if code is None or text.isdigit() or text == _NO_CODE:
        return _unreadable()
    known = text if CODE.fullmatch(text) else None
    hints = {
        "client_credentials": "Check the consumer key and secret, that the app allows the client credentials flow, and that it has a run-as user.",
        "jwt": "Check the key, that its certificate is the app's, that the user is pre-authorised for the app, and that this machine's clock is right.",
        "password": "Check user name, password and security token, and that the org allows the password flow.",
        "soap": "Check user name, password and security token, and that the org still allows SOAP login.",
    }
    return SourceError(
        f"Salesforce refused the login ({settings.login}){f': {known}' if known else ''}.",
        hint=hints[settings.login],
        code=known,
    )
