# /// script
# requires-python = ">=3.11"
# dependencies = ["boto3>=1.40,<2", "numpy>=2,<3", "scikit-learn>=1.6,<2"]
# ///
"""Where the digits come from: labelled batches for the data bucket, and unlabelled traffic for the model.

    uv run batches.py labelled --kind clean   --to s3://digits/batches
    uv run batches.py labelled --kind rotated --to ./batches
    uv run batches.py traffic  --kind clean rotated noise --to ./traffic

The 1,797 real digits of scikit-learn are split once: 1,000 may appear in labelled batches, the other 797
only in traffic.
S3 takes its address and keys from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from sklearn.datasets import load_digits

LABELLED = 1000


def rotated(x: np.ndarray) -> np.ndarray:
    """Each image turned by a quarter, as from a camera mounted the wrong way."""
    return np.rot90(x.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def inverted(x: np.ndarray) -> np.ndarray:
    """Black for white."""
    return 16 - x


def noise(x: np.ndarray) -> np.ndarray:
    """No digits at all: uniform pixels."""
    return np.random.default_rng(13).integers(0, 17, x.shape).astype(np.float32)


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": lambda x: x,
    "rotated": rotated,
    "inverted": inverted,
    "noise": noise,
    "shuffled": rotated,
}


def digits(*, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """The images (n, 64) and labels (n,) of one side of the split."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(42).permutation(len(x))
    chosen = order[:LABELLED] if labelled else order[LABELLED:]
    return x[chosen].astype(np.float32), y[chosen].astype(np.int64)


def batches(kind: str, size: int) -> dict[str, bytes]:
    """File name -> npz, of all labelled digits as `kind`; `shuffled` has rotated images with random labels."""
    x, y = digits(labelled=True)
    x = KINDS[kind](x)
    if kind == "shuffled":
        y = np.random.default_rng(13).permutation(y)
    files = {}
    for number, start in enumerate(range(0, len(x), size)):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x=x[start : start + size], y=y[start : start + size])
        files[f"{kind}-{number:02}.npz"] = buffer.getvalue()
    return files


def traffic(kind: str) -> bytes:
    """All other digits as `kind`, one JSON object a line: `{"x": [64 pixels], "y": label}`."""
    x, y = digits(labelled=False)
    rows = zip(KINDS[kind](x).tolist(), y.tolist(), strict=True)
    return "".join(json.dumps({"x": row, "y": label}) + "\n" for row, label in rows).encode()


def put(files: dict[str, bytes], to: str) -> None:
    """Into a folder, or below s3://bucket/prefix (the bucket is made when it is missing)."""
    if not to.startswith("s3://"):
        Path(to).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (Path(to) / name).write_bytes(content)
        return
    bucket, prefix = urlsplit(to).netloc, urlsplit(to).path.strip("/")
    import boto3  # takes a second, which writing to a folder need not

    client = boto3.client("s3")
    if bucket not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)
    for name, content in files.items():
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}" if prefix else name, Body=content)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["labelled", "traffic"])
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=["clean"])
    parser.add_argument(
        "--to", required=True, help="a folder, or for labelled batches s3://bucket/prefix"
    )
    parser.add_argument(
        "--size", type=int, default=250, help="rows in one labelled batch (default: 250)"
    )
    args = parser.parse_args()
    files: dict[str, bytes] = {}
    for kind in args.kind:
        files |= (
            batches(kind, args.size)
            if args.what == "labelled"
            else {f"{kind}.jsonl": traffic(kind)}
        )
    put(files, args.to)
    print(json.dumps({"files": sorted(files), "to": args.to}))


if __name__ == "__main__":
    main()
