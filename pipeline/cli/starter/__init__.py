"""The files of `driftloop init`; data, no code of ours."""
