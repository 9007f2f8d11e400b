"""`python -m pipeline.cli` is `driftloop`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
