# /// script
# requires-python = ">=3.11"
# dependencies = ["boto3>=1.40,<2", "numpy>=2,<3"]
# ///
"""Labelled batches for the data bucket and unlabelled traffic for the model, from the images that fetch.py got.

    uv run batches.py labelled --kind clean   --to s3://mnist/batches      the 60,000 training images
    uv run batches.py labelled --kind rotated --to ./batches
    uv run batches.py traffic  --kind rotated --to ./rotated.jsonl         the 10,000 test images

S3 takes its address and keys from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import numpy as np

KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": lambda x: x,
    "rotated": lambda x: np.rot90(x.reshape(-1, 28, 28), axes=(1, 2)).reshape(-1, 784),
    "inverted": lambda x: 255 - x,
}


def images(folder: Path, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 784) and labels (n,), both uint8; side is `train` or `t10k`."""
    try:
        x = np.frombuffer((folder / f"{side}-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
        y = np.frombuffer((folder / f"{side}-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} does not exist\n\nhint: run fetch.py first")
    return x.reshape(-1, 784), y


def batches(x: np.ndarray, y: np.ndarray, kind: str, size: int) -> Iterator[tuple[str, bytes]]:
    """File name and npz of one batch after the other."""
    for number, start in enumerate(range(0, len(x), size)):
        buffer = io.BytesIO()
        part = slice(start, start + size)
        np.savez_compressed(buffer, x=KINDS[kind](x[part]), y=y[part].astype(np.int64))
        yield f"{kind}-{number:02}.npz", buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["labelled", "traffic"])
    parser.add_argument("--kind", choices=KINDS, default="clean")
    parser.add_argument(
        "--to", required=True, help="a folder or s3://bucket/prefix; a .jsonl file for traffic"
    )
    parser.add_argument(
        "--images",
        type=Path,
        default=Path(__file__).parent / "images",
        help="where fetch.py put them",
    )
    parser.add_argument(
        "--size", type=int, default=6000, help="rows in one labelled batch (default: 6000)"
    )
    args = parser.parse_args()
    x, y = images(args.images, "train" if args.what == "labelled" else "t10k")
    if args.what == "traffic":
        rows = zip(KINDS[args.kind](x).tolist(), y.tolist(), strict=True)
        Path(args.to).write_text(
            "".join(json.dumps({"x": row, "y": label}) + "\n" for row, label in rows)
        )
    elif args.to.startswith("s3://"):
        bucket, prefix = urlsplit(args.to).netloc, urlsplit(args.to).path.strip("/")
        client = boto3.client("s3")
        if bucket not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=bucket)
        for name, content in batches(x, y, args.kind, args.size):
            client.put_object(
                Bucket=bucket, Key=f"{prefix}/{name}" if prefix else name, Body=content
            )
    else:
        Path(args.to).mkdir(parents=True, exist_ok=True)
        for name, content in batches(x, y, args.kind, args.size):
            (Path(args.to) / name).write_bytes(content)
    print(json.dumps({"kind": args.kind, "rows": len(x), "to": args.to}))


if __name__ == "__main__":
    main()
