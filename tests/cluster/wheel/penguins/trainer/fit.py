"""A program that trains, or with `--measure` evaluates, and is told where things are by variables."""

import json
import os
import sys
from pathlib import Path

from species import evaluate, train

data, model = Path(os.environ["DRIFTLOOP_DATA"]), Path(os.environ["DRIFTLOOP_MODEL"])
trees = None if sys.argv[1] == "--measure" else int(sys.argv[1])
metrics = evaluate(model, data) if trees is None else train(trees, data, model)
Path(os.environ["DRIFTLOOP_METRICS"]).write_text(json.dumps(metrics))
