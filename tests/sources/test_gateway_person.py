"""Who is gone and what is only a wrong address: one person through the gateway, over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from recon.errors import AccessRefused, SourceError
from recon.sandbox import sales_connect
from recon.sandbox.box import Sandbox
from recon.sandbox.faults import Fault
from recon.settings import Settings
from recon.sources.gateway_client import GatewayClient
from recon.sources.gateway_person import PersonReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Sandbox, str, str]]:
    with Sandbox() as sandbox:
        made = [sales_connect.add_person(sandbox.store, email=f"{name}@x.example", last_name=name) for name in "ab"]
        yield sandbox, made[0], made[1]


@pytest.fixture
def box(shared: tuple[Sandbox, str, str]) -> Sandbox:
    shared[0].faults.clear()
    return shared[0]


@pytest.fixture
def ids(shared: tuple[Sandbox, str, str]) -> tuple[str, str]:
    return shared[1:]


@pytest.fixture
def reader(box: Sandbox) -> Iterator[Callable[..., PersonReader]]:
    opened: list[GatewayClient] = []

    def made(**values: Any) -> PersonReader:
        given = {"retries": 0} | values
        settings = Settings().with_values(**box.settings()).with_values(sales_connect={"gateway": given})
        opened.append(GatewayClient(settings.sales_connect.gateway, box.environment()))
        return PersonReader(opened[-1], settings.sales_connect.columns)

    yield made
    for client in opened:
        client.close()


def asked(box: Sandbox) -> list[str]:
    return [each.path for each in box.faults.asked]


def test_a_person_who_is_there_needs_no_proof(
    box: Sandbox, reader: Callable[..., PersonReader], ids: tuple[str, str]
) -> None:
    row = reader().read(ids[0])
    assert row is not None
    assert row["person_id"] == ids[0]
    assert asked(box) == [f"/people/{ids[0]}"]


def test_a_person_who_is_not_there_is_gone_where_others_are_found(
    box: Sandbox, reader: Callable[..., PersonReader], ids: tuple[str, str]
) -> None:
    one = reader()
    assert one.read("999") is None
    assert one.read("998") is None
    # The proof is made once.
    assert asked(box) == ["/people/999", "/people", f"/people/{ids[0]}", "/people/998"]


def test_one_who_was_read_is_proof_enough(
    box: Sandbox, reader: Callable[..., PersonReader], ids: tuple[str, str]
) -> None:
    one = reader()
    one.read(ids[1])
    assert one.read("999") is None
    assert len(asked(box)) == 2


def test_one_who_went_in_between_is_no_proof_against_the_address(
    box: Sandbox, reader: Callable[..., PersonReader], ids: tuple[str, str]
) -> None:
    box.faults.add(Fault(kind="status", status=404, path=f"/people/{ids[0]}$"))
    assert reader().read("999") is None
    assert asked(box)[-1] == f"/people/{ids[1]}"


def test_a_wrong_address_makes_nobody_gone(reader: Callable[..., PersonReader], ids: tuple[str, str]) -> None:
    one = reader(person_path="/persons/{person_id}")
    for person in (ids[0], "999"):
        with pytest.raises(SourceError, match="nobody is taken for deleted") as caught:
            one.read(person)
        assert "sales_connect.gateway.person_path" in str(caught.value)


def test_where_nobody_is_listed_nothing_is_believed(
    box: Sandbox, reader: Callable[..., PersonReader], ids: tuple[str, str]
) -> None:
    box.faults.add(Fault(kind="status", status=200, path="^/people$", content='{"people": [], "total": 0}'))
    with pytest.raises(SourceError, match="nobody is taken for deleted"):
        reader().read("999")


def test_a_web_page_is_not_the_gateways_word(
    box: Sandbox, reader: Callable[..., PersonReader], ids: tuple[str, str]
) -> None:
    one = reader()
    one.read(ids[0])
    box.faults.add(Fault(kind="status", status=404, content="<html>Not here: a@x.example</html>"))
    with pytest.raises(SourceError, match="a web page came instead, with status 404") as caught:
        one.read(ids[1])
    assert "@" not in str(caught.value)


@pytest.mark.parametrize(("status", "kind"), [(401, AccessRefused), (403, AccessRefused), (500, SourceError)])
def test_any_other_refusal_is_none_of_this(
    box: Sandbox, reader: Callable[..., PersonReader], ids: tuple[str, str], status: int, kind: type[SourceError]
) -> None:
    box.faults.add(Fault(kind="status", status=status))
    with pytest.raises(kind) as caught:
        reader().read(ids[0])
    assert type(caught.value) is kind


def test_somebody_else_is_not_taken_for_the_one_who_was_asked_for(
    reader: Callable[..., PersonReader], ids: tuple[str, str]
) -> None:
    with pytest.raises(SourceError, match="another person"):
        reader(person_path=f"/people/{ids[1]}?asked={{person_id}}").read(ids[0])
