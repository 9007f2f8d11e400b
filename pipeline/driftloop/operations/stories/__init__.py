"""A time or a release told from the records: reports and model cards."""
