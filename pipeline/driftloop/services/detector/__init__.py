"""The detector: requests come in as events, windows of them are scored, verdicts go out.

One process per detector and release: handler -> stream -> windows -> scoring -> verdict (stored)
-> event. The stream holds the events and the stored verdicts hold the position, so the process can
be killed at any time: no event is scored twice and none is left out.
"""
