"""The settings of `driftloop-platform`."""

import pytest

from driftloop.contract import platform
from driftloop.contract.accounts import NatsRole
from driftloop.contract.platform import BY_ENVIRONMENT, SETTINGS, MissingSettingError


def test_each_setting_has_its_own_key_and_variable() -> None:
    assert len({setting.key for setting in SETTINGS}) == len(SETTINGS)
    others = [setting for setting in SETTINGS if setting not in platform.NATS_ROLES.values()]
    assert len(BY_ENVIRONMENT) == len([setting for setting in others if setting.environment])
    assert all(setting.description and setting.example for setting in SETTINGS)


def test_a_setting_is_read_from_an_environment() -> None:
    detector = platform.NATS_ROLES[NatsRole.DETECTOR]
    assert detector.read({"NATS_URL": "nats://n"}) == "nats://n"


@pytest.mark.parametrize("environment", [{}, {"DRIFTLOOP_WEBHOOK_TOKEN": ""}])
def test_a_missing_setting_tells_its_key_and_object(environment: dict[str, str]) -> None:
    with pytest.raises(
        MissingSettingError, match=r"^DRIFTLOOP_WEBHOOK_TOKEN is not set\n"
    ) as error:
        platform.WEBHOOK_TOKEN.read(environment)
    assert error.value.hint is not None
    assert "`webhook-token` of the Secret `driftloop-platform`" in error.value.hint


def test_argo_gets_the_store_without_a_scheme() -> None:
    made = platform.artifact_repository(
        "s3:8333", insecure=True, bucket="b", region="r", create_bucket=True
    )["s3"]
    assert made["endpoint"] == "s3:8333"
    assert list(made) == [
        "endpoint",
        "insecure",
        "bucket",
        "region",
        "createBucketIfNotPresent",
        "keyFormat",
        "accessKeySecret",
        "secretKeySecret",
    ]
