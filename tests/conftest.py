"""What holds for all tests: Hypothesis's profile, no proxy between a test and loopback, and one time zone that is not UTC.

`FAST=1 pytest` takes a few examples of every property, `THOROUGH=1 pytest` many more than usual: for a change of the rules, and for long hunts.
"""

from __future__ import annotations

import os
import time

import pandas  # noqa: F401, ICN001 - before a command in this process leaves it out, see recon.engines.arrow_alone
import pytest
from hypothesis import HealthCheck, settings

from recon import secrets

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

for _name in _PROXIES:
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)

# A zone with daylight saving, far from UTC and from Pacific time: what depends on the machine's zone fails here and not elsewhere.
os.environ["TZ"] = "Australia/Lord_Howe"
if hasattr(time, "tzset"):
    time.tzset()

# The machine may be slow or busy: how long an example takes says nothing about what is tested.
_ANY_SPEED = (HealthCheck.too_slow,)
settings.register_profile("thorough", max_examples=150, deadline=None, suppress_health_check=_ANY_SPEED)
settings.register_profile("fast", max_examples=10, deadline=None, suppress_health_check=_ANY_SPEED)
settings.register_profile("usual", max_examples=60, deadline=None, suppress_health_check=_ANY_SPEED)
_asked = [name for name in ("fast", "thorough") if os.environ.get(name.upper(), "0") not in ("", "0")]
settings.load_profile(_asked[0] if _asked else "usual")


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """What one test planted as a secret is no secret in the next one: a word of it must not be taken out of a message there."""
    secrets._told.clear()
