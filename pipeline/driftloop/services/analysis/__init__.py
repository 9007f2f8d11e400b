"""Measures a rollout: errors and answer times from each predictor's own metrics, agreement from
joined responses."""
