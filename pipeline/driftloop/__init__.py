"""driftloop: one YAML file per model becomes a loop from traffic to drift to retraining, every step a git commit."""

__version__ = "0.1.0"
