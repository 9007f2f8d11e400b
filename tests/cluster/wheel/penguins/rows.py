# /// script
# requires-python = ">=3.11"
# dependencies = ["palmerpenguins==0.1.4", "pandas==2.3.3", "numpy==1.26.4", "setuptools<81"]
# ///
"""Penguins as they are met in a season: rows of the real table, each measured again with a small error.

usage: rows.py KIND SEED NUMBER FILE    KIND is known (as the table has them), or colony (another scale, heavier birds, no sex told)
"""

import sys

import numpy as np
from palmerpenguins import load_penguins

NOISE = {"bill_length_mm": 0.4, "bill_depth_mm": 0.2, "flipper_length_mm": 1.5, "body_mass_g": 40}


def make_rows(kind, seed, number):
    random = np.random.default_rng(seed)
    rows = load_penguins().drop(columns="year").sample(number, replace=True, random_state=seed)
    for column, spread in NOISE.items():
        rows[column] = (rows[column] + random.normal(0, spread, number)).round(1)
    if kind == "colony":
        rows["bill_length_mm"] = (rows["bill_length_mm"] + 6).round(1)
        rows["body_mass_g"] = (rows["body_mass_g"] * 1.15).round(1)
        rows["sex"] = rows["sex"].where(random.random(number) < 0.3)
    return rows


kind, seed, number, file = sys.argv[1:]
rows = make_rows(kind, int(seed), int(number))
if file.endswith(".csv"):
    rows.to_csv(file, index=False)
else:
    rows.to_json(file, orient="records", lines=True)
