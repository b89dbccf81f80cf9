"""Applications served on loopback: at once, on known ports, and gone when they are stopped."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import requests
from starlette.responses import PlainTextResponse

from recon.errors import ReconError
from recon.sandbox import serving
from recon.sandbox.serving import Serving

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

HELLO = PlainTextResponse("hello")


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("sandbox ")}


def test_it_answers_as_soon_as_it_is_there_and_never_again_once_stopped() -> None:
    before = threads()
    server = Serving(HELLO)
    assert requests.get(server.url, timeout=5).text == "hello"
    assert len(threads() - before) == 1
    server.stop()
    assert threads() == before
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=5)
    server.stop()  # once more does no harm


def test_it_listens_on_loopback_alone() -> None:
    server = Serving(HELLO)
    try:
        host, _, port = server.url.removeprefix("http://").partition(":")
        assert host == "127.0.0.1"
        for other in {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
            if not str(other).startswith("127."):
                with pytest.raises(OSError, match=r"."):
                    socket.create_connection((str(other), int(port)), timeout=2).close()
    finally:
        server.stop()


def test_many_get_ports_of_their_own() -> None:
    servers = [Serving(HELLO) for _ in range(5)]
    try:
        assert len({server.url for server in servers}) == 5
    finally:
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop()


def test_a_port_that_was_left_can_be_taken_again_at_once() -> None:
    first = Serving(HELLO)
    port = int(first.url.rpartition(":")[2])
    with requests.Session() as session:
        session.get(first.url, timeout=5)
        first.stop()
    second = Serving(HELLO, port)
    try:
        assert second.url == first.url
        assert requests.get(second.url, timeout=5).text == "hello"
    finally:
        second.stop()


def test_a_taken_port_is_told() -> None:
    server = Serving(HELLO)
    port = int(server.url.rpartition(":")[2])
    try:
        with pytest.raises(ReconError, match=f"port {port} on 127.0.0.1 can't be used") as caught:
            Serving(HELLO, port)
        assert caught.value.hint == "Choose another port, or 0 for a free one."
        assert requests.get(server.url, timeout=5).text == "hello"
    finally:
        server.stop()


@pytest.mark.parametrize("port", [-1, 65_536])
def test_what_is_no_port_is_told(port: int) -> None:
    with pytest.raises(ReconError, match=f"port {port} on 127.0.0.1 can't be used"):
        Serving(HELLO, port)


def test_a_fault_of_the_application_is_an_answer_and_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/bad":
            raise RuntimeError("a bug")
        await HELLO(scope, receive, send)

    server = Serving(faulty)
    try:
        with caplog.at_level(logging.CRITICAL, "uvicorn.error"):
            assert requests.get(f"{server.url}/bad", timeout=5).status_code == 500
        assert requests.get(server.url, timeout=5).text == "hello"
    finally:
        server.stop()


def test_a_request_under_way_is_finished_before_it_stops() -> None:
    entered, go_on = threading.Event(), threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        while not go_on.is_set():
            await asyncio.sleep(0)
        await HELLO(scope, receive, send)

    server = Serving(slow)
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(requests.get(server.url, timeout=10).text))
    client.start()
    assert entered.wait(10)
    server.ask_to_stop()
    go_on.set()
    client.join(10)
    server.stop()
    assert answers == ["hello"]


def test_a_request_that_never_ends_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_GRACE", 0)
    entered = threading.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.Event().wait()

    def ask() -> None:
        try:
            requests.get(server.url, timeout=30)
        except requests.RequestException:
            ended.set()

    before, ended = threads(), threading.Event()
    server = Serving(endless)
    client = threading.Thread(target=ask)
    client.start()
    assert entered.wait(10)
    server.stop()
    assert threads() == before
    client.join(10)
    assert not client.is_alive()


def test_its_answers_do_not_name_the_server_and_it_logs_no_request(caplog: pytest.LogCaptureFixture) -> None:
    server = Serving(HELLO)
    try:
        with caplog.at_level(logging.DEBUG):
            answer = requests.get(f"{server.url}/people?email=ann@example.com", timeout=5)
        assert "server" not in answer.headers
        assert not [record for record in caplog.records if "uvicorn" in record.name and "ann" in record.getMessage()]
    finally:
        server.stop()
