"""The detector: requests come in as events, windows of them are judged, verdicts go out. One process per detector and
release.

door -> stream -> windows -> judge -> verdict (stored) -> event. The stream holds what came, the stored verdicts hold
how far it was judged; nothing else has to survive, so the process can be killed anywhere: no event is judged twice
and none is left out.
"""
