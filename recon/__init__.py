"""recon: opt-out reconciliation between Marketo Sales Connect and Salesforce."""

from __future__ import annotations

__version__ = "0.1.0"
