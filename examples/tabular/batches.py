# /// script
# requires-python = ">=3.11"
# dependencies = ["boto3>=1.40,<2", "numpy>=2,<3", "scikit-learn>=1.6,<2"]
# ///
"""The 569 rows of the Wisconsin breast cancer data in scikit-learn: 30 measures of cell nuclei, benign or not.

    uv run batches.py labelled --kind clean   --to s3://tumours/batches     400 rows, as .csv
    uv run batches.py labelled --kind shifted --to ./batches
    uv run batches.py traffic  --kind shifted --to ./traffic                the other 169, as .jsonl

S3 takes its address and keys from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
(`eval "$(driftloop env)"` sets them for a platform that runs here).
"""

import argparse
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from sklearn.datasets import load_breast_cancer

LABELLED = 400


def shifted(x: np.ndarray, names: list[str]) -> np.ndarray:
    """As a microscope measures whose scale is set 40 % too high: lengths grow by that, areas by its square."""
    scale = [
        1.96 if "area" in name else 1.4 if "radius" in name or "perimeter" in name else 1.0
        for name in names
    ]
    return x * np.asarray(scale)


KINDS: dict[str, Callable[[np.ndarray, list[str]], np.ndarray]] = {
    "clean": lambda x, names: x,
    "shifted": shifted,
}


def rows(kind: str, *, labelled: bool) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Column names, features (n, 30) and labels (n,), 1 for malignant, of one side of the split."""
    found = load_breast_cancer()
    names = [name.replace(" ", "_") for name in found.feature_names]
    order = np.random.default_rng(42).permutation(len(found.data))
    chosen = order[:LABELLED] if labelled else order[LABELLED:]
    return names, KINDS[kind](found.data[chosen], names), 1 - found.target[chosen]


def batches(kind: str, size: int) -> dict[str, bytes]:
    """File name -> csv with a header; the last column, `y`, is the label."""
    names, x, y = rows(kind, labelled=True)
    files = {}
    for number, start in enumerate(range(0, len(x), size)):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*names, "y"])
        for features, label in zip(x[start : start + size], y[start : start + size], strict=True):
            writer.writerow([*(f"{value:.6g}" for value in features), label])
        files[f"{kind}-{number:02}.csv"] = text.getvalue().encode()
    return files


def traffic(kind: str) -> dict[str, bytes]:
    """All other rows, one JSON object a line: `{"x": [30 numbers], "y": label}`."""
    _, x, y = rows(kind, labelled=False)
    lines = (
        json.dumps({"x": row, "y": label}) + "\n"
        for row, label in zip(x.tolist(), y.tolist(), strict=True)
    )
    return {f"{kind}.jsonl": "".join(lines).encode()}


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
    parser.add_argument("--to", required=True, help="a folder, or s3://bucket/prefix")
    parser.add_argument(
        "--size", type=int, default=100, help="rows in one labelled batch (default: 100)"
    )
    args = parser.parse_args()
    files: dict[str, bytes] = {}
    for kind in args.kind:
        files |= batches(kind, args.size) if args.what == "labelled" else traffic(kind)
    put(files, args.to)
    print(json.dumps({"files": sorted(files), "to": args.to}))


if __name__ == "__main__":
    main()
