"""Questions of admins and analysts: why is this record opted out, and what if the settings were others.

::

    from recon.explore import what_if, why

    why("ws", "ada@example.com")                  # or an id of either system; a notebook shows it as a page
    what_if("ws", sync_enabled=False)             # the reconciliation again, and what would differ

Both read the newest snapshot, or the one that is named, and change nothing.
"""

from __future__ import annotations

from recon.explore.asking import Explored, explore, what_if, why
from recon.explore.person import Event, Link, Person, Record
from recon.explore.what_if import WhatIf
from recon.explore.why import Why

__all__ = ["Event", "Explored", "Link", "Person", "Record", "WhatIf", "Why", "explore", "what_if", "why"]
