"""The wrapper around a user's plain Python functions: `driftloop-train`.

It lives in the user's image beside whatever the user installed, so it needs Python and PyYAML,
and of ours the contract, which needs nothing else; numpy only for .npz files.
"""
