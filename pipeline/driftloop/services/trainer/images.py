"""`driftloop-train images`: folders of images to arrays, as the split and the detectors read them.

The class of an image is the name of its folder, or what a table of labels says. Nothing of a file is trusted: its
size is looked at before it is decoded, and one that can't be decoded is counted, named and left out.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from driftloop.contract.columns import IMAGE_SUFFIXES, TARGET
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.split import PARTS

ImageMode = Literal["L", "RGB"]
IMAGE_MODES: tuple[ImageMode, ...] = get_args(ImageMode)
"""Gray or color; one byte for each channel."""
MOST_PIXELS = 64_000_000
"""Pixels of an image that is decoded; a larger one counts as one that can't be."""
MOST_VALUES = 64_000_000
"""Bytes of the arrays of one file that is written."""
MOST_NAMED = 20
"""Files that a message names."""
BROKEN_SHARE = 0.01
"""Share of files that can't be decoded above which the step fails."""


@dataclass(frozen=True)
class ImageForm:
    """What images are made to."""

    width: int
    height: int
    mode: ImageMode

    @classmethod
    def parse(cls, size: str, mode: ImageMode) -> "ImageForm":
        """Read `WIDTHxHEIGHT`; TrainerError for anything else."""
        width, times, height = size.partition("x")
        if not times or not all(part.isascii() and part.isdigit() for part in (width, height)):
            raise TrainerError(f"--size is `{size}`, must be WIDTHxHEIGHT, such as 28x28")
        form = cls(int(width), int(height), mode)
        if not 1 <= form.width <= 4096 or not 1 <= form.height <= 4096:
            raise TrainerError(f"--size is `{size}`, must be from 1x1 to 4096x4096")
        return form

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of one image."""
        return (self.height, self.width, *((3,) if self.mode == "RGB" else ()))


@dataclass
class ImageCounts:
    """What became of the files."""

    rows: int = 0
    broken: list[str] = field(default_factory=list)
    """Files that can't be decoded, each with the reason."""
    unlabelled: list[str] = field(default_factory=list)
    """Images that no line of the labels names."""
    missing: list[str] = field(default_factory=list)
    """Lines of labels whose image is not there."""
    others: list[str] = field(default_factory=list)
    """Files that are neither images nor labels."""

    def describe(self) -> Iterator[str]:
        """Yield a line about everything that is not as it should be."""
        for what, files in (
            ("images can't be decoded and are left out", self.broken),
            ("images have no label and are left out", self.unlabelled),
            ("images are named by the labels and are not there", self.missing),
            ("files are neither images nor labels and are left out", self.others),
        ):
            if files:
                more = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
                yield f"{len(files)} {what}: {', '.join(files[:MOST_NAMED])}{more}"


def convert_images(
    data: Path, out: Path, form: ImageForm, *, labels: str | None = None, target: str = TARGET
) -> ImageCounts:
    """Write the images below data/earlier and data/recent as arrays `x` and the target into .npz files of the same
    folders; TrainerError when too many can't be decoded."""
    counts = ImageCounts()
    for part in PARTS:
        (out / part).mkdir(parents=True, exist_ok=True)
        named = _read_labels(data / part, labels, target, counts) if labels is not None else None
        batch = _Batch(out / part, form, target)
        for file in _list_files(data / part):
            name = file.relative_to(data / part).as_posix()
            if file.suffix.lower() not in IMAGE_SUFFIXES:
                if file.name != labels:
                    counts.others.append(f"{part}/{name}")
                continue
            label = file.parent.name if named is None else named.get(name)
            if label is None:
                counts.unlabelled.append(f"{part}/{name}")
                continue
            if named is None and file.parent == data / part:
                raise TrainerError(
                    f"{name} is in no folder, so it has no class",
                    hint="put it into a folder with the name of its class, or name a table with --labels",
                )
            try:
                batch.add(decode_image(file, form), label)
                counts.rows += 1
            except _BrokenImageError as error:
                counts.broken.append(f"{part}/{name} ({error})")
        batch.write()
    _refuse_counts(data, counts)
    return counts


class _BrokenImageError(Exception):
    """Why a file is no image."""


def decode_image(file: Path, form: ImageForm) -> Any:
    """Return an image as an array of bytes."""
    try:
        import numpy as np
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise TrainerError(
            f"{file.name} needs {error.name}",
            hint="add pillow and numpy to the image's requirements.txt",
        ) from error
    try:
        # of these formats only: others run programs, or read further files
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise _BrokenImageError(f"{width}x{height} pixels, at most {MOST_PIXELS}")
            if image.mode.startswith(("I", "F")):
                # Pillow would cut what is above 255
                raise _BrokenImageError(f"mode {image.mode}, must have 8 bits a channel")
            turned = ImageOps.exif_transpose(image).convert(form.mode)
            scaled = turned.resize((form.width, form.height), Image.Resampling.BILINEAR)
            return np.asarray(scaled, dtype=np.uint8).reshape(form.shape)
    except Image.DecompressionBombError as error:
        raise _BrokenImageError(f"more than {MOST_PIXELS} pixels") from error
    # Pillow's decoders raise all of these for bytes that are no image
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError) as error:
        reason = "no PNG or JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise _BrokenImageError(reason or type(error).__name__) from error


class _Batch:
    """Images on their way into files of a bounded size."""

    def __init__(self, folder: Path, form: ImageForm, target: str) -> None:
        self._folder = folder
        self._target = target
        self._most = max(1, MOST_VALUES // math.prod(form.shape))
        self._images: list[Any] = []
        self._labels: list[str] = []
        self._number = 0

    def add(self, image: Any, label: str) -> None:
        """Take an image."""
        self._images.append(image)
        self._labels.append(label)
        if len(self._images) == self._most:
            self.write()

    def write(self) -> None:
        """Write what was taken."""
        if not self._images:
            return
        import numpy as np

        self._number += 1
        columns: dict[str, Any] = {
            "x": np.stack(self._images),
            self._target: np.array(self._labels),
        }
        np.savez(self._folder / f"images-{self._number:04}.npz", **columns)
        self._images, self._labels = [], []


def _list_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith((".", "_"))
    )


def _read_labels(folder: Path, labels: str, target: str, counts: ImageCounts) -> dict[str, str]:
    """Read the tables of this name: the column `file`, a path beside the table, and the target."""
    named: dict[str, str] = {}
    for table in sorted(folder.rglob(labels)):
        with table.open(newline="") as stream:
            reader = csv.DictReader(stream)
            absent = [name for name in ("file", target) if name not in (reader.fieldnames or ())]
            if absent:
                raise TrainerError(
                    f"{table.relative_to(folder)} has no column `{absent[0]}`; its columns: "
                    f"{', '.join(reader.fieldnames or ()) or 'none'}",
                    hint=f"it must have `file`, the path of an image beside it, and `{target}`",
                )
            for row in reader:
                place = (table.parent / row["file"]).relative_to(folder).as_posix()
                if not row[target] or named.setdefault(place, row[target]) != row[target]:
                    raise TrainerError(
                        f"{table.relative_to(folder)}, line {reader.line_num}: `{row['file']}` has "
                        + (
                            f"two labels, {named[place]} and {row[target]}"
                            if row[target]
                            else "no label"
                        )
                    )
                if not (folder / place).is_file():
                    counts.missing.append(f"{folder.name}/{place}")
    return named


def _refuse_counts(data: Path, counts: ImageCounts) -> None:
    said = "\n".join(counts.describe())
    if not counts.rows:
        raise TrainerError(
            f"{data} contains no image that can be used{': ' + said if said else ''}",
            hint=f"images end with one of: {', '.join(IMAGE_SUFFIXES)}",
        )
    if len(counts.broken) > BROKEN_SHARE * (counts.rows + len(counts.broken)):
        raise TrainerError(
            f"{said}\nmore than {BROKEN_SHARE:.0%} of {counts.rows + len(counts.broken)} images",
            hint="look at these files, and put whole ones in their place or take them away",
        )
