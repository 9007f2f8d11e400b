"""Folders of images as arrays: real files, whole and broken."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftloop.services.trainer.__main__ import main
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.images import ImageForm, convert_images
from driftloop.services.trainer.split import split_rows

GRAY = ImageForm(8, 8, "L")


def draw(file: Path, value: int, size: tuple[int, int] = (16, 16)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(file)
    return file


def fill(data: Path, count: int = 120) -> None:
    for number in range(count):
        side = "recent" if number % 2 else "earlier"
        draw(data / side / "shapes" / ("dark" if number % 3 else "light") / f"{number}.png", number)


def bomb(file: Path) -> None:
    """A PNG of a few bytes that says that it has 4 billion pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", 65_000, 65_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_folders_of_classes_become_rows_that_are_split(tmp_path: Path) -> None:
    fill(tmp_path / "data")
    words = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
    main(["images", *words, "--size", "8x6", "--mode", "RGB"])
    with np.load(tmp_path / "out" / "recent" / "images-0001.npz", allow_pickle=False) as batch:
        assert (batch["x"].shape, batch["x"].dtype) == ((60, 6, 8, 3), np.uint8)
        assert set(batch["y"]) == {"dark", "light"}
    rows = split_rows(tmp_path / "out", tmp_path / "split", 0.2)
    assert sum(rows.values()) == 120


def test_broken_images_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    fill(data, 400)
    place = data / "recent" / "shapes" / "dark"
    bomb(place / "bomb.png")
    (place / "none.jpg").write_bytes(b"<html>")
    whole = draw(place / "cut.png", 7, (64, 64)).read_bytes()
    (place / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("I;16", (8, 8), 40_000).save(place / "deep.png")
    (place / "notes.txt").write_text("no image")
    counts = convert_images(data, tmp_path / "out", GRAY)
    assert counts.rows == 400
    said = "\n".join(counts.describe())
    assert "4 images can't be decoded and are left out" in said
    assert "recent/shapes/dark/bomb.png (more than 64000000 pixels)" in said
    assert "recent/shapes/dark/none.jpg (no PNG or JPEG)" in said
    assert "recent/shapes/dark/deep.png (mode I;16, must have 8 bits a channel)" in said
    assert "1 files are neither images nor labels and are left out" in said
    bomb(place / "again.png")
    with pytest.raises(TrainerError, match="more than 1% of 405 images"):
        convert_images(data, tmp_path / "more", GRAY)


def test_labels_of_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "recent" / "shapes"
    for name in ("a.png", "b.png", "c.png"):
        draw(folder / "images" / name, 9)
    table = folder / "labels.csv"
    table.write_text("file,y\nimages/a.png,cat\nimages/b.png,dog\nimages/d.png,dog\n")
    counts = convert_images(tmp_path / "data", tmp_path / "out", GRAY, labels="labels.csv")
    assert (counts.rows, counts.unlabelled, counts.missing) == (
        2,
        ["recent/shapes/images/c.png"],
        ["recent/shapes/images/d.png"],
    )
    with np.load(tmp_path / "out" / "recent" / "images-0001.npz") as batch:
        assert list(batch["y"]) == ["cat", "dog"]
    table.write_text("file,y\nimages/a.png,cat\nimages/a.png,dog\n")
    with pytest.raises(TrainerError, match=r"line 3: `images/a.png` has two labels, cat and dog"):
        convert_images(tmp_path / "data", tmp_path / "two", GRAY, labels="labels.csv")
    table.write_text("name,y\n")
    with pytest.raises(TrainerError, match="has no column `file`; its columns: name, y"):
        convert_images(tmp_path / "data", tmp_path / "none", GRAY, labels="labels.csv")


@pytest.mark.parametrize("size", ["28", "0x5", "5x9999", "axb"])
def test_a_size_that_is_none(size: str) -> None:
    with pytest.raises(TrainerError, match="--size is"):
        ImageForm.parse(size, "L")
