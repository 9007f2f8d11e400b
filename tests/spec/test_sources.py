"""Sources of data: what a URL may be, and what goes with it."""

import pytest

from driftloop.plan import make_plan
from driftloop.spec import InvalidSpec, parse_spec
from tests.pipelines import SPEC

KEY = "{secret: mine, key: k}"


def with_source(source: str, train: str = ', newData: "0 * * * *"') -> str:
    spec = SPEC.replace('run: "train:train"', f'run: "train:train"{train}')
    return spec.replace(
        'data: {uri: "s3://digits/batches"}',
        f'data: {{uri: "s3://digits/batches", sources: {{birds: {source}}}}}',
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{url: "https://eve:pw@data.example.org/a.csv"}', "must be without user and password"),
        ('{url: "https://eve@data.example.org/a.csv"}', "must be the address of a file"),
        ('{url: "https://data.example.org/a.csv?sig=abc"}', "must not hold `sig`"),
        ('{url: "https://d.example.org/a?X-Amz-Signature=b"}', "must not hold `X-Amz-Signature`"),
        ('{url: "http://data.example.org/a.csv"}', "must be https: over plain http anybody"),
        (
            '{url: "birds.csv"}',
            "files beside the spec go into the bucket with `driftloop data put`",
        ),
        ('{url: "file://birds.csv"}', "must be file:// and a whole path"),
        ('{url: "file:///srv/../etc/passwd"}', "must not contain . or .. as a folder"),
        ('{url: "ftp://data.example.org/a.csv"}', "must be a URL with one of: https://"),
        ('{url: "s3://X/daily"}', "must be a bucket and a folder or file in it"),
        ('{url: "az://exports/daily"}', "must have `account` with az://"),
        (
            '{url: "abfs://exports@acmedata.dfs.core.windows.net/d", account: other1}',
            "must have `account` with az://, and none with abfs://",
        ),
        ('{url: "s3://exports/daily", endpoint: "http://minio.example.org"}', "must be https"),
        ('{url: "s3://exports/daily", file: a.csv}', "must have no `file`: it is of https only"),
        ('{url: ["s3://exports/a", "s3://exports/b"]}', "must have one `url` unless all are https"),
        (
            f'{{url: "s3://exports/daily", credentials: {{token: {KEY}}}}}',
            "must have credentials of s3: `accessKey` and `secretKey`",
        ),
        (
            f'{{url: "s3://exports/daily", credentials: {{accessKey: {KEY}}}}}',
            "must have credentials of s3: `accessKey` and `secretKey`",
        ),
        (
            '{url: "https://d.example.org/a.csv", credentials: {token: {secret: driftloop-platform, key: k}}}',
            "must be an object of your own",
        ),
        (
            '{url: "https://data.example.org/a.csv", sha256: abc}',
            "must be 64 lower-case hex digits",
        ),
    ],
)
def test_what_is_no_source_is_refused_by_line(source: str, said: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_spec(with_source(source), path="pipeline.yaml")
    assert said in str(refused.value)
    assert "pipeline.yaml:8:" in str(refused.value)


def test_a_source_that_may_change_needs_somebody_who_looks() -> None:
    """An alarm that waits for new data would wait for good."""
    source = '{url: "https://data.example.org/a.csv"}'
    with pytest.raises(InvalidSpec, match="nobody looks there while alarms wait for new data"):
        make_plan(parse_spec(with_source(source, train=""), path="pipeline.yaml"))
    make_plan(parse_spec(with_source(source), path="pipeline.yaml"))
    pinned = f'{{url: "https://data.example.org/a.csv", sha256: {"a" * 64}}}'
    make_plan(parse_spec(with_source(pinned, train=""), path="pipeline.yaml"))
