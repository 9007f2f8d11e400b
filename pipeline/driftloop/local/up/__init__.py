"""Program of `driftloop up`: starts the platform and keeps it running."""
