"""Pages: charts and documents, drawn from plain data.

Each function takes dataclasses of `figures` and returns text that is safe in an HTML page, whatever names
and values are in it. Nothing here reads, asks or writes anything; no page needs a script or a network.
"""
