"""Program that runs the stand-ins for Argo Events and Argo Workflows."""
