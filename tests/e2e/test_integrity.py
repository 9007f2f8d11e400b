"""Bytes turned in the store after a release: no model server and no detector starts with them, and production goes on."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from support.loops import applied, commit_move

from driftloop.clients import s3
from driftloop.clients.s3 import ObjectStore
from driftloop.contract.platform import SIGNING_KEY
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.errors import LocalError, RenderError
from driftloop.git.repository import Repository
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.local.up.signing import KEY_FILE, TRUSTED_FILE
from driftloop.operations.commits.guard import refuse_harm
from driftloop.release import minisign, record
from driftloop.release.record import Version
from driftloop.release.signing import sign_version
from tests.e2e.test_revert import BODY, MODEL, SERVER, asked
from tests.pipelines import PLAIN, SPEC, version

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(params=[SPEC, PLAIN], ids=["seldon", "plain"])
def spec(request, tmp_path):
    """A project whose models answer nothing but their own number, and a detector of its requests."""
    shutil.copytree(SERVER, tmp_path / "project" / "server")
    (tmp_path / "project" / "server" / "Digits.py").write_text(MODEL)
    file = tmp_path / "project" / "pipeline.yaml"
    text = request.param.replace(
        '"example.org/server:1"', '"example.org/server:1", context: server'
    )
    file.write_text(text)
    return file


def stored(platform: DemoPlatform, folder: Path, number: int) -> Version:
    """A model and its detector in the store, as a run leaves them."""
    run = f"digits-{number}"
    digests = {}
    for part, name, content in (
        ("model", "name", str(number)),
        ("detectors/drift", "reference.npz", f"rows {number}"),
    ):
        files = folder / run / part
        files.mkdir(parents=True)
        (files / name).write_text(content)
        platform.upload_files([files / name], f"s3://driftloop/runs/{run}/release/{part}")
        digests[part] = s3.folder_digest(files)
    return version(
        run,
        model_digest=digests["model"],
        detector_digests={"drift": digests["detectors/drift"]},
    )


def turn_byte(platform: DemoPlatform, at: str) -> bytes:
    """Change one byte of an object, as whoever can write into the store; return what was there."""
    store, place = ObjectStore.from_environment(platform.read_store()), s3.parse_location(at)
    kept = store.read_object(place)
    store.write_object(place, bytes([kept[0] ^ 1]) + kept[1:])
    return kept


async def test_turned_bytes_are_refused_and_told(spec, envs, tmp_path):
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "digits", "digits")
    repository = Repository(
        platform.state.repository_url, guard=refuse_harm, workdir=tmp_path / "cache"
    )

    async def told(word: str) -> list[str]:
        text = await platform.run_command("status", "--state", str(platform.state.root))
        return [line for line in text.splitlines() if line.startswith(word)]

    async def altered(*parts: str) -> bool:
        lines = await told("altered")
        return len(lines) == len(parts) and all(
            any(part in line for line in lines) for part in parts
        )

    async def wait_altered(*parts: str) -> None:
        for _ in range(300):
            if await altered(*parts):
                return
            await asyncio.sleep(1)
        raise AssertionError(await told("altered"))

    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        old, new = stored(platform, tmp_path, 1), stored(platform, tmp_path, 2)
        detector = turn_byte(platform, f"{old.detectors}/drift/reference.npz")
        await commit_move(repository, lambda release: record.release_first(release, old))
        await platform.wait_until(
            lambda: is_answered(platform.predictions, BODY), "a prediction", within=300
        )
        await wait_altered(f"digits-drift.fetch: {old.detectors}/drift has digest")

        turn_byte(platform, f"{new.model}/name")
        async with asked(platform.predictions) as heard:
            await commit_move(repository, lambda release: record.start_shadow(release, new))
            await wait_altered(
                f"digits-drift.fetch: {old.detectors}/drift has digest",
                f"{new.id}.model-model-initializer: {new.model} has digest",
            )
            assert applied(platform) is None, "the candidate's commit does not count as applied"
            assert await told("verdict") == []
            assert not platform.verdicts
            assert await told("run ") == []
            (process,) = [
                each
                for each in json.loads(
                    await platform.run_command(
                        "status", "--output", "json", "--state", str(platform.state.root)
                    )
                )["processes"]
                if f"{new.id}.model-model-initializer" in each["name"]
            ]
            assert f"expected {new.model_digest}" in process["lastExit"]
            await commit_move(repository, record.reject_candidate)
            await wait_altered(f"{old.detectors}/drift")
        assert set(heard) == {"1"}

        place = s3.parse_location(f"{old.detectors}/drift/reference.npz")
        ObjectStore.from_environment(platform.read_store()).write_object(place, detector)
        await wait_altered()


async def test_releases_that_the_key_has_not_signed_are_refused(envs, tmp_path):
    """Whoever may write into git and the store, and has no key; and a key that is replaced."""
    shutil.copytree(SERVER, tmp_path / "project" / "server")
    (tmp_path / "project" / "server" / "Digits.py").write_text(MODEL)
    spec = tmp_path / "project" / "pipeline.yaml"
    spec.write_text(
        PLAIN[: PLAIN.index("  monitors:")].replace(
            '"example.org/server:1"', '"example.org/server:1", context: server'
        )
        + "  signatures: require\n"
    )
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "digits", "digits")
    repository = Repository(
        platform.state.repository_url, guard=refuse_harm, workdir=tmp_path / "cache"
    )

    def put(number: int) -> Version:
        made = stored(platform, tmp_path, number)
        return made.model_copy(update={"detectors": None, "detector_digests": {}})

    def signed(made: Version) -> Version:
        settings = LocalSettings.load(platform.state)
        key = minisign.read_signing_key(settings[SIGNING_KEY], label="the key")
        return sign_version(record.empty_release("digits", "digits"), made, key)

    async def wait_told(*parts: str) -> None:
        for _ in range(300):
            text = await platform.run_command("status", "--state", str(platform.state.root))
            lines = [line for line in text.splitlines() if line.startswith("altered")]
            if len(lines) == len(parts) and all(
                part in line for part, line in zip(parts, lines, strict=True)
            ):
                return
            await asyncio.sleep(1)
        raise AssertionError(text)

    async def answers(number: int) -> None:
        await platform.wait_until(
            lambda: is_answered(platform.predictions, BODY), "a prediction", within=300
        )
        async with asked(platform.predictions) as heard:
            await asyncio.sleep(1)
        assert set(heard) == {str(number)}

    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        old, new = signed(put(1)), put(2)
        await commit_move(repository, lambda release: record.release_first(release, old))
        await answers(1)
        with pytest.raises(RenderError, match="is not trusted: it has no signature"):
            await commit_move(repository, lambda release: record.start_shadow(release, new))
        forged = new.model_copy(update={"signature": old.signature})
        await commit_move(repository, lambda release: record.start_shadow(release, forged))
        await wait_told(f"release {new.id} of digits/digits is not trusted: the signature by key")
        await answers(1)
        await commit_move(repository, record.reject_candidate)
        await wait_told()

    (platform.state.secrets / KEY_FILE).unlink()
    async with platform.run_up(spec, print, envs=envs):
        await answers(1)
        third = signed(put(3))
        assert third.signature is not None
        assert third.signature[:15] != (old.signature or "")[:15], "another key"
        await commit_move(repository, lambda release: record.start_shadow(release, third))
        await commit_move(repository, record.promote_candidate)
        await platform.wait_until(lambda: applied(platform), "the promotion", within=300)
        await answers(3)

    trusted = platform.state.secrets / TRUSTED_FILE
    trusted.write_text(trusted.read_text().splitlines()[0])
    async with platform.run_up(spec, print, envs=envs):
        await answers(3)
        with pytest.raises(LocalError, match=f"release {old.id} of digits/digits is not trusted"):
            await platform.run_command("rollback", "digits", "--state", str(platform.state.root))
