"""What becomes a commit: specs, releases and secrets, what a change does, what is refused."""
