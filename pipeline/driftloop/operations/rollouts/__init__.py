"""Releases on their way: stages, promotion, rollback, how far they are."""
