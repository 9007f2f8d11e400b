"""A model that a person gives to a run: claimed as such, taken by its digest, registered without a recipe."""

import pytest

from driftloop.contract.names import find_given_model, is_forced, person_cause
from driftloop.contract.trees import given_key
from driftloop.text.load import load_mapping
from tests.steps.conftest import BUCKET, World

HEX = "0f" * 32


@pytest.mark.parametrize(
    ("cause", "digest", "forced"),
    [
        (person_cause("eve", "models:/digits/7", forced=True, model=f"sha256:{HEX}"), f"sha256:{HEX}", True),
        (person_cause("eve", forced=True, model=HEX), f"sha256:{HEX}", True),
        (person_cause("eve", f"why (forced, model {HEX})"), None, False),
        (person_cause("eve", forced=True), None, True),
        (f"webhook (forced, model {HEX})", None, False),
        (f"person eve (forced, model {HEX[1:]})", None, False),
        ("schedule", None, False),
    ],
)  # fmt: skip
def test_the_cause_of_a_run_names_the_model(cause: str, digest: str | None, forced: bool) -> None:
    assert find_given_model(cause) == digest
    assert is_forced(cause) == forced


def test_a_claim_says_which_way_the_run_goes(world: World) -> None:
    cause = person_cause("eve", "models:/digits/7", forced=True, model=HEX)
    out = world.folder / "claim"
    arguments = (
        *("--pipeline", "digits", "--namespace", world.namespace, "--run", "digits-a"),
        *("--decision", "a", "--cause", cause, "--out", str(out)),
    )
    said = world.step("claim", *arguments, code=1).stderr
    assert "names no tracking server, so its workflow trains" in said
    world.step("claim", *arguments, "--adopts")
    assert (out / "claimed").read_text() == "model"


def test_the_model_is_taken_by_its_digest(world: World) -> None:
    folder = BUCKET / given_key("digits-a")
    out = world.folder / "adopt"
    missing = person_cause("eve", "x", forced=True, model=HEX)
    arguments = ("--run", "digits-a", "--out", str(out))
    said = world.step("adopt", *arguments, "--cause", missing, code=1).stderr
    assert f"{folder} does not exist" in said
    world.store.write_object(folder / "model.pkl", b"bytes")
    assert "has digest" in world.step("adopt", *arguments, "--cause", missing, code=1).stderr
    digest = world.store.digest_folder(folder)
    cause = person_cause("eve", "models:/digits/7 of https://m", forced=True, model=digest)
    world.step("adopt", *arguments, "--cause", cause)
    assert (out / "model" / "model.pkl").read_bytes() == b"bytes"
    metadata = load_mapping((out / "metadata.yaml").read_bytes(), "metadata.yaml")
    assert metadata["function"] == "models:/digits/7 of https://m"
    parameters = {file.name: file.read_text() for file in (out / "parameters").iterdir()}
    assert parameters == {"trial": "0", "home": "runs/digits-a/trials/0"}
    assert "names no model" in world.step("adopt", *arguments, "--cause", "schedule", code=1).stderr
