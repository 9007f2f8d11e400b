"""Container images, built from a project and from this package."""
