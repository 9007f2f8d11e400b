"""Stand-in for Argo Events: webhooks of EventSources, triggers of Sensors."""
