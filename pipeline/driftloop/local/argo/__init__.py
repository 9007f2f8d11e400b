"""Ground that the stand-ins for Argo Events and Argo Workflows share.

They follow the fields that rendered templates use, and nothing else: a field that is not understood
is refused by its name, so that a template which runs here also runs on a cluster.
"""
