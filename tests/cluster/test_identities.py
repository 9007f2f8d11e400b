"""What a namespace's key opens in the store that comes with the platform, asked of a real SeaweedFS."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError
from support.processes import Process, free_port

from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.cluster.identities import StoreKey, configuration
from driftloop.errors import StoreError

WEED = shutil.which("weed") or os.environ.get("WEED")
pytestmark = pytest.mark.skipif(WEED is None, reason="SeaweedFS's `weed` is not on this machine")
PLATFORM = Path(__file__).parents[2] / "cluster/infrastructure/controllers/seaweedfs.yaml"
SLOTS = 20
"""Volumes of the store: a fifth of what its claim has room for."""
KEYS = {
    "abc": StoreKey("a-access", "a-secret", ("driftloop-abc", "abc")),
    "many": StoreKey("m-access", "m-secret", tuple(f"many-{n}" for n in range(SLOTS - 8))),
    "abc-d": StoreKey("a-b-access", "a-b-secret", ("driftloop-abc-d", "abc-d", "more")),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("weed")
    found = [json.loads(configuration(name, key))["identities"] for name, key in KEYS.items()]
    (folder / "s3.json").write_text(
        json.dumps({"identities": [one for each in found for one in each]})
    )
    values = read_values()
    (folder / ".seaweedfs").mkdir()
    (folder / ".seaweedfs" / "master.toml").write_text(values["master"]["config"])
    ports = {name: free_port() for name in ("s3", "master", "volume", "filer")}
    argv = [
        *(str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"),
        *(f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(*values["allInOne"]["extraArgs"], f"-volume.max={SLOTS}"),
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={free_port()}" for name in ports),
    ]
    process = Process(
        argv, folder / "weed.log", ports["s3"], "/healthz", environment={"HOME": str(folder)}
    ).start(wait=90)
    yield f"http://127.0.0.1:{ports['s3']}"
    process.kill()


def read_values() -> dict[str, Any]:
    """The chart's values in the platform's tree."""
    release = next(
        document
        for document in yaml.safe_load_all(PLATFORM.read_text())
        if document["kind"] == "HelmRelease"
    )
    values: dict[str, Any] = release["spec"]["values"]
    return values


def client(url: str, name: str):  # type: ignore[no-untyped-def]
    key = KEYS[name]
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key.access,
        aws_secret_access_key=key.secret,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}, proxies={}),
    )


def test_a_key_does_all_in_its_own_buckets(store: str) -> None:
    """Also with nearly as many buckets as the store has volumes."""
    for name, key in KEYS.items():
        opened = ObjectStore.from_endpoint(store, access_key=key.access, secret_key=key.secret)
        for bucket in key.buckets:
            opened.create_bucket(bucket)
            opened.create_bucket(bucket)
            at = StoreLocation(bucket, "runs/1/model")
            opened.write_object(at, name.encode())
            assert opened.read_object(at) == name.encode()
            assert (
                opened.copy_folder(StoreLocation(bucket, "runs/1"), StoreLocation(bucket, "kept"))
                == 1
            )
            assert {item.key for item in opened.list_folder(StoreLocation(bucket, ""))} == {
                "runs/1/model",
                "kept/model",
            }
            opened.delete_object(StoreLocation(bucket, "kept/model"))


@pytest.mark.parametrize(("name", "other"), [("abc", "abc-d"), ("abc-d", "abc")])
def test_a_key_opens_no_bucket_of_another_namespace(store: str, name: str, other: str) -> None:
    test_a_key_does_all_in_its_own_buckets(store)
    mine, (own, *_) = client(store, name), KEYS[name].buckets
    for bucket in KEYS[other].buckets:
        at = {"Bucket": bucket, "Key": "runs/1/model"}
        refused = {
            "read": lambda at=at: mine.get_object(**at),
            "look": lambda at=at: mine.head_object(**at),
            "write": lambda at=at: mine.put_object(**at, Body=b"forged"),
            "delete": lambda at=at: mine.delete_object(**at),
            "list": lambda bucket=bucket: mine.list_objects_v2(Bucket=bucket),
            "list below": lambda bucket=bucket: mine.list_objects_v2(Bucket=bucket, Prefix="runs/"),
            "delete the bucket": lambda bucket=bucket: mine.delete_bucket(Bucket=bucket),
            "copy out": lambda at=at: mine.copy_object(Bucket=own, Key="stolen", CopySource=at),
            "copy in": lambda at=at: mine.copy_object(
                **at, CopySource={"Bucket": own, "Key": "runs/1/model"}
            ),
            "tag": lambda at=at: mine.put_object_tagging(**at, Tagging={"TagSet": []}),
            "upload in parts": lambda at=at: mine.create_multipart_upload(**at),
            "give away": lambda bucket=bucket: mine.put_bucket_policy(Bucket=bucket, Policy="{}"),
        }
        for what, ask in refused.items():
            with pytest.raises(ClientError) as error:
                ask()
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, (what, bucket)
        several = mine.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": at["Key"]}]})
        assert "Deleted" not in several, several
    left = client(store, other)
    for bucket in KEYS[other].buckets:
        assert left.get_object(Bucket=bucket, Key="runs/1/model")["Body"].read() == other.encode()
    listed = {bucket["Name"] for bucket in mine.list_buckets()["Buckets"]}
    assert listed <= set(KEYS[name].buckets)


def test_a_refusal_names_the_bucket(store: str) -> None:
    opened = ObjectStore.from_endpoint(store, access_key="a-access", secret_key="a-secret")
    with pytest.raises(StoreError, match="s3://more/x: the object store denies access"):
        opened.read_object(StoreLocation("more", "x"))
    with pytest.raises(StoreError, match="denies access"):
        opened.create_bucket("elsewhere")
