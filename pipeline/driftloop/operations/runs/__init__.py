"""Runs of training: requested, followed, recorded, compared, and what of them is kept."""
