"""Monitors replayed over past rows before they watch traffic."""
