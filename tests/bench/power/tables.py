"""Tables that windows are drawn from, row by row and with replacement: the table is the world, and what is
drawn from it without a change is clean, whatever the window's size."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import ChunkedArray, csv

from driftloop.contract.columns import FileColumns
from driftloop.services.detector.fitting.learning import LearntTable, learn_table
from driftloop.services.detector.rows.tables import TableFile, Values
from driftloop.services.detector.rows.values import ColumnEncoder, RowFaults, Rows

Random = np.random.Generator
Table = dict[str, Values]
"""Values of the columns by name."""
Draw = Callable[[Random, int], Table]
"""Draws so many rows."""
CLASSES = 10


def read_csv(file: Path, names: tuple[str, ...], folder: Path) -> Table:
    """Return columns of a file, which may be in a .zip, as Arrow types them."""
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            file = Path(archive.extract(archive.namelist()[0], folder))
    options = csv.ConvertOptions(include_columns=list(names), strings_can_be_null=True)
    read = csv.read_csv(file, convert_options=options)
    return {name: _read_values(column) for name, column in zip(names, read.columns, strict=True)}


def _read_values(column: ChunkedArray) -> Values:
    """Return numbers with NaN, and anything else with None, where a row has no value."""
    values = column.to_numpy()
    if not column.null_count:
        return values
    return values.astype(float if values.dtype.kind in "fiu" else object)


def draw_from(table: Table) -> Draw:
    """Return a function that draws rows of a table."""
    count = len(next(iter(table.values())))

    def draw(random: Random, rows: int) -> Table:
        chosen = random.integers(0, count, rows)
        return {name: values[chosen] for name, values in table.items()}

    return draw


def name_columns(rows: Rows) -> Table:
    """Return numbers (n x columns) as a table."""
    return {f"c{number}": column for number, column in enumerate(rows.T)}


def draw_numbers(make: Callable[[Random, int], Rows]) -> Draw:
    """Return a function that draws rows of numbers."""
    return lambda random, rows: name_columns(make(random, rows))


FLIGHTS = ("carrier", "origin", "dest", "tailnum", "dep_time", "dep_delay", "arr_delay")
FLIGHTS += ("air_time", "distance", "hour", "minute")
PENGUINS = ("species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm")
PENGUINS += ("body_mass_g", "sex", "year")


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 8 x 8 images, and a classifier's answers to them."""

    pixels: Rows
    classes: NDArray[np.int64]
    answer: Callable[[Rows], Rows]
    """The probabilities (n x 10) of images."""

    @classmethod
    def load(cls) -> "Digits":
        """Load the images, and train the classifier on a third of them."""
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression

        loaded = load_digits()
        third = np.random.default_rng(0).permutation(len(loaded.data))[: len(loaded.data) // 3]
        model = LogisticRegression(max_iter=300).fit(loaded.data[third] / 16, loaded.target[third])
        return cls(loaded.data, loaded.target, lambda pixels: model.predict_proba(pixels / 16))

    def draw_rows(self, random: Random, rows: int, weights: Rows | None = None) -> Table:
        """Draw images; of classes with these weights (default: as they come)."""
        chances = None
        if weights is not None:
            shares = np.bincount(self.classes, minlength=CLASSES)
            chances = (weights / shares)[self.classes]
            chances = chances / chances.sum()
        return name_columns(self.pixels[random.choice(len(self.pixels), rows, p=chances)])


def rotate_images(pixels: Rows, degrees: float) -> Rows:
    """Return images turned about their middle, their values whole numbers from 0 to 16 as before."""
    from scipy.ndimage import rotate

    images = pixels.reshape(-1, 8, 8)
    turned = rotate(images, degrees, axes=(1, 2), reshape=False, order=1)
    return np.clip(np.round(turned), 0, 16).reshape(pixels.shape)


def stack_columns(table: Table) -> Rows:
    """Return columns of numbers as rows (n x columns)."""
    return np.stack([values.astype(float) for values in table.values()], axis=1)


def learn_rows(table: Table) -> LearntTable:
    """Return profile and rows of reference rows, as a fit learns them."""
    names = (*table, "y")
    values = {**table, "y": np.zeros(len(next(iter(table.values()))))}
    return learn_table(
        [TableFile("reference", FileColumns("reference", "column", names), values)], "x", "y"
    )


def encode_rows(learnt: LearntTable, table: Table) -> Rows:
    """Return rows of a window as a detector reads them."""
    faults = RowFaults()
    return np.stack(
        [
            ColumnEncoder.from_profile(column).encode_values(table[column.name], faults)
            for column in learnt.profile.columns
        ],
        axis=1,
    )
