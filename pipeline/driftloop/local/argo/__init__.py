"""The stand-in for Argo Events and Argo Workflows: the rendered templates, run on one machine.

What Argo would do with the fields our templates use, and nothing else: a field that is not understood is refused by its
name, so that a template which runs here also runs on a cluster.
"""
