"""One person through the gateway, and what it means that the gateway says there is none.

A 404 says that an address leads nowhere, and the address is a setting: were it wrong, every person would seem to be deleted. So "there is no
such person" is believed only of an address that is known to lead to people, because this very client has read one there, if need be one
of those whom the gateway lists. A web page instead of an answer is never believed: that was a proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.errors import SourceError
from recon.sources.gateway import listed
from recon.sources.gateway_rows import column_keys, person_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recon.sources.gateway_client import GatewayClient

_MISSING = (404, 410)
#: So many of those whom the gateway lists are looked up, as one may be deleted in between.
_PROOFS = 3
_HINT = "Check sales_connect.gateway.person_path (and url)."


class PersonReader:
    """Reads people one by one.

    Parameters
    ----------
    client
        The gateway.
    columns
        Which key of a person is which column, `[sales_connect.columns]`.
    """

    def __init__(self, client: GatewayClient, columns: Mapping[str, str]) -> None:
        self._client, self._keys = client, column_keys(columns)
        self._proven = False

    def read(self, person_id: str) -> dict[str, Any] | None:
        """One person as a row of `recon.tables.PEOPLE`; None where it is known that there is none.

        Raises
        ------
        SourceError
            If the gateway can't be read, answers with somebody else, or answers 404 for people whom it lists, too.
        """
        row = self._ask(person_id)
        if row is None and not self._proven:
            self._prove()
        return row

    def _ask(self, person_id: str) -> dict[str, Any] | None:
        try:
            item = self._client.person(person_id)
        except SourceError as error:
            if error.status in _MISSING:
                return None
            raise
        row = person_row(item, self._keys)
        if row["person_id"] != person_id:
            raise SourceError("the gateway answered with another person than the one that was asked for.", hint=_HINT)
        self._proven = True
        return row

    def _prove(self) -> None:
        for other in listed(self._client, self._keys, _PROOFS):
            if self._ask(other) is not None:
                return
        raise SourceError(
            "the gateway answers that there is no such person, but not for any person whom it lists does it find one: "
            "the address for a person is wrong, and nobody is taken for deleted.",
            hint=_HINT,
        )
