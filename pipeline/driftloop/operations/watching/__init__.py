"""The present: status, verdicts, windows, dead letters."""
