"""image.json reads back as it was written, and a newer version's keys are left alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.images import ImageRecord

TEXT = st.text(min_size=1)
IMAGES = st.builds(
    ImageRecord,
    ref=TEXT,
    digest=TEXT,
    content=st.text(),
    env=TEXT,
    app=TEXT,
    bin=st.lists(TEXT).map(tuple),
    scripts=st.dictionaries(st.text(), TEXT),
)


@given(record=IMAGES)
def test_an_image_reads_back_beside_keys_of_a_newer_version(record: ImageRecord) -> None:
    assert ImageRecord.parse(json.dumps({**to_json(record), "newer": 1})) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bin": "a"}, 'the image: `bin` is `"a"`, must be a list of paths'),
        ({"env": None}, "the image: `env` is `null`, must be a path"),
        ({"scripts": {"a": 1}}, 'the image: `scripts` is `{"a": 1}`, must be functions by script'),
    ],
)
def test_a_value_that_is_not_allowed_is_named(change: dict[str, object], message: str) -> None:
    image = ImageRecord(ref="a:1", digest="d", content="c", env="/e", app="/a", bin=(), scripts={})
    with pytest.raises(DocumentError) as caught:
        ImageRecord.parse(json.dumps({**to_json(image), **change}))
    assert caught.value.message == message
