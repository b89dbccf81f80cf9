"""What Salesforce's own consent objects say against mailing a person: read, never written.

An org may keep an Individual for a Lead or Contact (Don't Market, Don't Process, Forget this Individual) and contact-point consents of
that Individual. Either can say no where the opt-out flag says nothing. An org without these objects has nothing to say: that is noted,
no error. Source: Salesforce object reference, Individual and ContactPointTypeConsent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recon.errors import AccessRefused, SourceError
from recon.progress import SILENT
from recon.sources.ids import salesforce_id_18
from recon.sources.rest_query import rest_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from recon.progress import Progress
    from recon.sources.salesforce_session import Connection

_FLAGS = ("HasOptedOutSolicit", "HasOptedOutProcessing", "ShouldForget")
_CONSENT = "ContactPointTypeConsent"
_NEEDED = ("PartyId", "ContactPointType", "PrivacyConsentStatus")
_PERIOD = ("EffectiveFrom", "EffectiveTo")

#: Codes that mean the org has no such object, or keeps it from the user.
_NONE_THERE = frozenset({"INVALID_TYPE", "NOT_FOUND", "INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY"})
# A query's address may hold 16,384 bytes, and an id in quotes takes some 25 of them.
_IDS = 200


@dataclass(frozen=True, slots=True)
class ConsentObjects:
    """What the consent objects say.

    Attributes
    ----------
    blocked
        `salesforce:<record_id>` -> what says no, like `Individual.HasOptedOutSolicit`; records that nothing speaks against are left out.
    notes
        What could not be looked at, because the org doesn't have it or the user can't see it.
    """

    blocked: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def blocked_by_consent(
    connection: Connection,
    record_ids: Mapping[str, Iterable[str]],
    *,
    now: datetime,
    progress: Progress = SILENT,
) -> ConsentObjects:
    """Look up what the consent objects say against some records.

    Parameters
    ----------
    connection
        A session with Salesforce.
    record_ids
        Lead and Contact -> ids of 18 characters.
    now
        A consent counts if it is in effect at this moment; has a time zone.
    progress
        Shows how far it is.

    Raises
    ------
    SourceError
        If Salesforce can't be read, or an id is none. An object or field that isn't there is no error, see `ConsentObjects.notes`.
    """
    wanted = {name: sorted({_checked(each) for each in ids}) for name, ids in record_ids.items()}
    wanted = {name: ids for name, ids in wanted.items() if ids}
    notes: list[str] = []
    reading = _Reading(connection, notes)
    if not wanted:
        return ConsentObjects()
    seen = reading.fields("Individual", _FLAGS)
    flags = [name for name in _FLAGS if name in seen]
    consents = reading.fields(_CONSENT, (*_NEEDED, *_PERIOD))
    if not frozenset(_NEEDED) <= consents:
        consents = frozenset()
    if not flags and not consents:
        return ConsentObjects(notes=tuple(notes))
    party: dict[str, str] = {}
    with progress.task("Consent objects", sum(map(len, wanted.values())), "records") as task:
        for name, ids in wanted.items():
            if "IndividualId" in reading.fields(name, ("IndividualId",)):
                for row in reading.rows(name, ("Id", "IndividualId"), "Id", ids):
                    if row["IndividualId"]:
                        party[f"salesforce:{_checked(row['Id'])}"] = _checked(row["IndividualId"])
            task.advance(len(ids))
    against = _against(reading, sorted(set(party.values())), flags, consents, now)
    blocked = {uid: ", ".join(against[one]) for uid, one in party.items() if one in against}
    return ConsentObjects(dict(sorted(blocked.items())), tuple(notes))


def _against(
    reading: _Reading, parties: Sequence[str], flags: Sequence[str], consents: frozenset[str], now: datetime
) -> dict[str, list[str]]:
    """What speaks against each Individual, by its id."""
    found: dict[str, list[str]] = {}
    if flags:
        for row in reading.rows("Individual", ("Id", *flags), "Id", parties, "IsDeleted = false"):
            said = [f"Individual.{name}" for name in flags if row[name] is not False]
            if said:
                found[_checked(row["Id"])] = said
    if consents:
        period = tuple(name for name in _PERIOD if name in consents)
        only = "ContactPointType = 'Email' AND PrivacyConsentStatus = 'OptOut' AND IsDeleted = false"
        for row in reading.rows(_CONSENT, ("PartyId", *period), "PartyId", parties, only):
            said = found.setdefault(_checked(row["PartyId"]), [])
            text = f"{_CONSENT} Email OptOut"
            if _in_effect(row, now) and text not in said:
                said.append(text)
    return {one: said for one, said in found.items() if said}


def _in_effect(row: Mapping[str, Any], now: datetime) -> bool:
    """Whether a consent counts now; a bound that isn't there, or can't be seen, bounds nothing."""
    begins, ends = (_moment(row.get(name)) for name in _PERIOD)
    return (begins is None or begins <= now) and (ends is None or now < ends)


def _moment(text: object) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise SourceError(f"{_CONSENT} holds a time that can't be read.", hint="Run again.")
    return at.astimezone(UTC)


class _Reading:
    """Reads objects as far as the user can see them."""

    def __init__(self, connection: Connection, notes: list[str]) -> None:
        self._connection, self._notes = connection, notes

    def fields(self, name: str, wanted: Sequence[str]) -> frozenset[str]:
        """Those of some fields that are there."""
        try:
            described = self._connection.get(f"the fields of {name}", f"sobjects/{name}/describe")
        except AccessRefused as error:
            if error.code not in _NONE_THERE:
                raise
            self._notes.append(f"{name} isn't there or can't be seen by the user: nothing was read of it.")
            return frozenset()
        listed = described.get("fields") if isinstance(described, dict) else None
        if not isinstance(listed, list):
            raise SourceError(
                f"Salesforce's description of {name} lists no fields.", hint="Check salesforce.instance_url."
            )
        there = {each.get("name") for each in listed if isinstance(each, dict)}
        found = frozenset(field for field in wanted if field in there)
        if lacking := [field for field in wanted if field not in found]:
            told = f", {name}.".join(lacking)
            self._notes.append(f"{name}.{told} can't be seen by the user: not looked at.")
        return found

    def rows(
        self, name: str, columns: Sequence[str], key: str, ids: Sequence[str], only: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The rows whose key is one of the ids, asked for some at a time."""
        more = "" if only is None else f" AND {only}"
        for start in range(0, len(ids), _IDS):
            listed = ", ".join(f"'{_checked(each)}'" for each in ids[start : start + _IDS])
            soql = f"SELECT {', '.join(columns)} FROM {name} WHERE {key} IN ({listed}){more}"  # noqa: S608 - names of describe, ids checked
            for page in rest_pages(self._connection, soql, columns, name):
                yield from page


def _checked(text: object) -> str:
    """An id of 18 letters and digits: nothing else gets into a query."""
    plain = salesforce_id_18(text) if isinstance(text, str) and len(text) == 18 else None
    if plain is None or not plain.isalnum():
        raise SourceError(
            "an id is no Salesforce id of 18 characters: nothing was asked for it.",
            hint="Pull again, then check again.",
        )
    return plain
