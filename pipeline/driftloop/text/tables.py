"""Rows of cells as aligned columns."""

from collections.abc import Iterator, Sequence


def format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each row, which all have as many cells: columns are as wide as their longest cell, two
    spaces apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def shorten_cell(text: str, most: int = 48) -> str:
    """Return a text of at most so many characters, cut with dots."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
