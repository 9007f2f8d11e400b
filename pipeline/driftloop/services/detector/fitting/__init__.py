"""From training data to a detector at rest: its profile, its reference, what their order says, its test of itself."""
