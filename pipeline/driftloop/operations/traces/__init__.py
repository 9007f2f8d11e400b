"""Kept requests, their labels, and what everything comes of."""
