"""Places: the state folder, files, addresses and keys of a platform, its store."""
