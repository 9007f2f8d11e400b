"""What runs now and why the loop waits: status, verdicts, windows, dead letters."""
