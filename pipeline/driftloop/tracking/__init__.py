"""What a tracking server (MLflow) is told of runs and releases: made of their records, as often as needed."""
