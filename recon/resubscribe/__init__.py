"""Resubscribes with proof: the approved CSV, its verdicts, and what follows from them."""
