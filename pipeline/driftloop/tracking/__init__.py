"""Contents of a tracking server (MLflow) on runs and releases: made of their records, as often as needed."""
