"""Who asks and who approves: names and addresses of people, as the policy and the approved file write them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from recon.identity import address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recon.resubscribe.clusters import Member

#: People whose forms are remembered.
_REMEMBERED = 4096


class Parties:
    """The people who may approve.

    Parameters
    ----------
    listed
        Each a name, an address, or both as `Ann Lee <ann@example.com>`: then either stands for that person.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = [found for entry in listed if (found := _forms(entry))]

    def may_approve(self, who: str) -> bool:
        """Whether this person is listed."""
        return any(_forms(who) & entry for entry in self._listed)

    def same(self, one: str, other: str) -> bool:
        """Whether these are one person, as far as anyone can tell."""
        return bool(self._all_forms(one) & self._all_forms(other))

    def is_person(self, who: str, members: Iterable[Member]) -> bool:
        """Whether these records are this person's: by address; by name only where no address of theirs is known."""
        forms = self._all_forms(who)
        addresses = {form for form in forms if "@" in form}
        if addresses:
            return any(member.address in addresses for member in members)
        return any(member.name is not None and _folded(member.name) in forms for member in members)

    def _all_forms(self, who: str) -> frozenset[str]:
        forms = _forms(who)
        return forms.union(*(entry for entry in self._listed if entry & forms))


# The same few people stand in every row.
@lru_cache(maxsize=_REMEMBERED)
def _forms(text: str) -> frozenset[str]:
    name, _, rest = text.partition("<")
    return frozenset(form for form in (_folded(name), _folded(rest.strip(" >"))) if form)


def _folded(text: str) -> str:
    return address(text) or " ".join(text.casefold().split())
