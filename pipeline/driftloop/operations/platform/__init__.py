"""The platform of this machine, started and stopped."""
