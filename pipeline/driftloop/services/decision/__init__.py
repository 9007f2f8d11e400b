"""The retrain decision as a service: alarms and ends of runs come in as events, the webhook goes
out.

The decision itself is `driftloop.retrain.decision`, its state one key-value entry. This process
only steps it under compare-and-set and carries out what it says; kill it anywhere and the next
one goes on.
"""
