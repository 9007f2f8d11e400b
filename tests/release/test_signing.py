"""Signatures of releases: minisign's own format, and everything that a hand without the key can try."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.integrity import find_mismatch
from driftloop.errors import PipelineError, ReleaseError
from driftloop.release import minisign, record
from driftloop.release.minisign import (
    SignatureError,
    SigningKey,
    find_signer,
    make_signing_key,
    read_public_keys,
    read_signing_key,
)
from driftloop.release.record import Recent, Version
from driftloop.release.signing import DistrustError, sign_version, verify_part, verify_version
from driftloop.release.statement import SignedPart, Statement, state_version
from tests.pipelines import version

KEY = SigningKey(bytes(range(8)), bytes(range(32)))
KEYS = (KEY.public,)
EMPTY = record.empty_release("digits", "team")
MADE = version("digits-a", detector_digests={"drift": "sha256:" + "d" * 64})
SIGNED = sign_version(EMPTY, MADE, KEY)
TEXT = state_version("team", "digits", MADE).text
SIGNATURE = SIGNED.signature or ""
MODEL = SignedPart("team", "digits", MADE.id, "model")

# made by py-minisign 0.21.1: a key pair without a password, and the second line of its signature of `hello`
FOREIGN_KEY = """\
untrusted comment: minisign secret key
RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAZ2zTnBWd2Vd602v5ceo7cp0eVUsVDdnVMqbyBGhlx9bgesrayi7HM6On7n9MC8JNU7GBmpxItdlpDNlFPa10upQgXHxHbJI/+Qbam9twtHyzsxhUBaTpbXMSJ1QRd/3kS3r7ZgF36A8=
"""
FOREIGN_PUBLIC = """\
untrusted comment: minisign public key 57D99D159CD36C67
RWRnbNOcFZ3ZV6On7n9MC8JNU7GBmpxItdlpDNlFPa10upQgXHxHbJI/
"""
FOREIGN_SIGNATURE = "RURnbNOcFZ3ZV1dWEoOiuEzS9gyH8w+tSjCOWQ01xuVwLG6eLgywp3NsacPbS9iaxGCQj4Ei6wdfDfp0xUgpGLF7Va5uDPiUAQQ="


def test_keys_and_signatures_are_those_of_minisign() -> None:
    key = read_signing_key(FOREIGN_KEY, label="the key")
    assert read_public_keys(FOREIGN_PUBLIC, label="keys") == (key.public,)
    assert key.public.name == "57D99D159CD36C67"
    assert key.sign("hello") == FOREIGN_SIGNATURE
    assert find_signer("hello", FOREIGN_SIGNATURE, (KEY.public, key.public)) == key.public


def test_keys_are_read_as_they_are_written() -> None:
    key = make_signing_key()
    assert read_signing_key(key.text, label="x") == key
    lines = f"# old and new\n{KEY.public.text}\n\n  {key.public.text}\n"
    assert read_public_keys(lines, label="x") == (KEY.public, key.public)
    assert str(base64.b64encode(key.seed)) not in repr(key)


def changed(text: str, at: int, byte: int) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= byte
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 lines, must be one key"),
        (f"{KEY.text}\n{KEY.text}", "2 lines, must be one key"),
        (KEY.public.text, "is not a minisign secret key"),
        (changed(KEY.text, 2, ord("S")), "has a password"),
        (changed(KEY.text, 60, 1), "is damaged"),
        (changed(KEY.text, 157, 1), "is damaged"),
        ("\ud800", "is not a minisign secret key"),
    ],
)
def test_a_key_that_can_not_sign_says_why(text: str, message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        read_signing_key(text, label="the key")


@pytest.mark.parametrize("text", ["x", KEY.text, KEY.public.text[:-4], KEY.public.text + "A==="])
def test_a_public_key_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SignatureError, match=r"keys: .* is not a minisign public key"):
        read_public_keys(f"{KEY.public.text}\n{text}", label="keys")


SIGNATURES = st.one_of(
    st.text(max_size=120),
    st.text("RUWEdD+/=Aa0\n\u00e9\ud800", min_size=95, max_size=105),
    st.binary(max_size=90).map(lambda raw: base64.b64encode(raw).decode()),
    st.binary(min_size=72, max_size=72).map(lambda raw: base64.b64encode(b"ED" + raw).decode()),
    st.binary(min_size=64, max_size=64).map(
        lambda raw: base64.b64encode(b"ED" + KEY.id + raw).decode()
    ),
    st.tuples(st.integers(0, 73), st.integers(1, 255)).map(lambda at: changed(SIGNATURE, *at)),
    st.sampled_from([SIGNATURE + "\n", " " + SIGNATURE, SIGNATURE[:-1], SIGNATURE[:-2] + "V="]),
)


@settings(deadline=None)
@given(SIGNATURES)
def test_no_other_text_is_a_signature(signature: str) -> None:
    if signature == SIGNATURE:
        return
    with pytest.raises(DistrustError) as caught:
        verify_part(TEXT, signature, MODEL, KEYS)
    assert find_mismatch(f"error: {caught.value.message}\n") == caught.value.message
    try:
        written = Version.model_validate({**dict(MADE), "signature": signature})
    except ValueError:
        return
    with pytest.raises(DistrustError):
        verify_version(EMPTY, written, KEYS)


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=300),
        st.sampled_from(["null", "[]", "{}", f"{TEXT} ", TEXT.replace("digits", "other")]),
        st.tuples(st.integers(0, len(TEXT) - 1), st.characters()).map(
            lambda at: TEXT[: at[0]] + at[1] + TEXT[at[0] + 1 :]
        ),
    )
)
def test_no_other_text_is_signed(text: str) -> None:
    if text == TEXT:
        return
    with pytest.raises(DistrustError):
        verify_part(text, SIGNATURE, MODEL, KEYS)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (SignedPart("team", "other", MADE.id, "model"), "is of .* of team/digits"),
        (SignedPart("other", "digits", MADE.id, "model"), "is of .* of team/digits"),
        (SignedPart("team", "digits", "r00000000", "model"), f"is of {MADE.id} of team/digits"),
        (SignedPart("team", "digits", MADE.id, "outlier"), "is of no outlier"),
    ],
)
def test_a_signature_counts_for_its_own_release_only(part: SignedPart, reason: str) -> None:
    with pytest.raises(DistrustError, match=reason):
        verify_part(TEXT, SIGNATURE, part, KEYS)


def test_a_signed_part_has_its_digest() -> None:
    assert verify_part(TEXT, SIGNATURE, MODEL, KEYS) == MADE.model_digest
    detector = SignedPart("team", "digits", MADE.id, "drift")
    assert verify_part(TEXT, SIGNATURE, detector, KEYS) == "sha256:" + "d" * 64
    assert SignedPart.parse(detector.text) == detector
    assert verify_version(EMPTY, SIGNED, KEYS) == KEY.public


@pytest.mark.parametrize("text", ["", "a/b/c", "a/b/c/d/e", "a//c/d"])
def test_a_part_without_all_its_names_is_refused(text: str) -> None:
    with pytest.raises(PipelineError, match="NAMESPACE/PIPELINE/RELEASE/PART"):
        SignedPart.parse(text)


RECENT = Recent(against="r1", rows=10, metrics={"accuracy": 1}, production={"accuracy": 0.5})
CHANGES: dict[str, object] = {
    "run": "digits-b",
    "model": "s3://driftloop/other",
    "model_digest": "sha256:" + "0" * 64,
    "detectors": None,
    "detector_digests": {},
    "record_digests": {"snapshot": "sha256:" + "0" * 64},
    "data_digest": "sha256:" + "0" * 64,
    "recipe_digest": "sha256:" + "0" * 64,
    "forced": True,
    "metrics": {"accuracy": 0.98},
    "recent": RECENT,
    "rehearsed": record.Rehearsed(start=1, rows=5),
    "id": "r12345678",
    "monitor_digests": {"drift": "sha256:" + "0" * 64},
    "fitted_by": "digits-b",
}


@pytest.mark.parametrize("field", sorted(Version.model_fields.keys() - {"signature"}))
def test_every_field_of_a_version_is_signed(field: str) -> None:
    other = SIGNED.model_copy(update={field: CHANGES[field]})
    with pytest.raises(DistrustError, match="does not fit"):
        verify_version(EMPTY, other, KEYS)


def test_a_signature_survives_the_file_and_the_moves() -> None:
    full = sign_version(EMPTY, MADE.model_copy(update={"recent": RECENT}), KEY)
    first = record.release_first(EMPTY, full)
    read = record.load_release(record.dump_release(first))
    assert read == first
    second = sign_version(EMPTY, version("digits-b"), KEY)
    moved = record.promote_candidate(record.start_shadow(read, second))
    for each in (moved.production, moved.previous):
        assert each is not None
        assert verify_version(moved, each, KEYS) == KEY.public


def test_keys_rotate_and_a_key_that_is_taken_out_counts_no_more() -> None:
    new = make_signing_key()
    assert verify_version(EMPTY, SIGNED, (new.public, KEY.public)) == KEY.public
    with pytest.raises(DistrustError, match=f"key {KEY.public.name} signed it, .* not trusted"):
        verify_version(EMPTY, SIGNED, (new.public,))
    same_name = SigningKey(KEY.id, new.seed).public
    with pytest.raises(DistrustError, match="does not fit"):
        verify_version(EMPTY, SIGNED, (same_name,))
    assert verify_version(EMPTY, SIGNED, (same_name, KEY.public)) == KEY.public
    with pytest.raises(DistrustError, match="no signature"):
        verify_version(EMPTY, MADE, KEYS)


def test_the_signed_text_stays_what_it_was() -> None:
    """Releases that are signed today have to be trusted by later versions."""
    expected = (
        '{"detectors":{"drift":"sha256:' + "d" * 64 + '"},"kind":"driftloop.dev/release",'
        f'"model":"{MADE.model_digest}","namespace":"team","pipeline":"digits",'
        '"record":"sha256:5dae97c9dee4e2421a43e022ef0c50c6c8078c228b362174b9f4cfd6fa008029",'
        f'"release":"{MADE.id}"}}'
    )
    assert expected == TEXT
    assert Statement.parse(TEXT).text == TEXT


def test_a_signature_of_another_shape_is_an_error_of_the_file() -> None:
    text = record.dump_release(record.release_first(EMPTY, SIGNED))
    with pytest.raises(ReleaseError, match=r"release.yaml:\d+: spec.production.signature: is 'RU"):
        record.load_release(text.replace(SIGNATURE, SIGNATURE[:-2]))
    assert minisign.PublicKey(KEY.id, b"").name == "0706050403020100"
