"""`python -m driftloop.cli` is `driftloop`."""

from driftloop.cli import main

if __name__ == "__main__":
    main()
