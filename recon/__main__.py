"""`python -m recon`."""

from __future__ import annotations

from recon.cli import main

if __name__ == "__main__":
    main(prog_name="recon")
