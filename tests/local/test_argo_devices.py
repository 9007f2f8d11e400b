"""Which GPUs a machine shows, and who holds them."""

import asyncio

import pytest

from driftloop.local.kubelet.devices import VENDORS, DeviceError, MachineDevices, list_visible

NVIDIA, AMD = VENDORS
FILES = (
    "nvidia0",
    "nvidia1",
    "nvidiactl",
    "nvidia-uvm",
    "nvidia-modeset",
    "dri/card0",
    "dri/renderD128",
)


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        (FILES, {}, ("0", "1")),
        (("nvidia3", "nvidiactl"), {}, ("0",)),
        (FILES, {"CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
        (FILES, {"CUDA_VISIBLE_DEVICES": "GPU-8f0c, GPU-1b2a"}, ("GPU-8f0c", "GPU-1b2a")),
        (FILES, {"CUDA_VISIBLE_DEVICES": ""}, ()),
        (FILES, {"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        (FILES, {"CUDA_VISIBLE_DEVICES": "1,2,0"}, ("1",)),
        (FILES, {"CUDA_VISIBLE_DEVICES": "1,1"}, ("1",)),
        (("nvidiactl",), {"CUDA_VISIBLE_DEVICES": "0"}, ()),
        ((), {}, ()),
    ],
)
def test_what_is_shown(
    files: tuple[str, ...], environment: dict[str, str], expected: tuple[str, ...]
) -> None:
    assert list_visible(NVIDIA, files, environment) == expected


def test_another_makers_devices_are_told_apart() -> None:
    assert list_visible(AMD, FILES, {"HIP_VISIBLE_DEVICES": "0"}) == ("0",)
    assert MachineDevices.find_devices(FILES, {}).shown == {
        "CUDA_VISIBLE_DEVICES": ("0", "1"),
        "HIP_VISIBLE_DEVICES": ("0",),
    }


async def test_a_gpu_has_one_holder_and_the_next_waits() -> None:
    devices = MachineDevices({"CUDA_VISIBLE_DEVICES": ("0", "1", "2")})
    said: list[str] = []
    held: list[str] = []
    most = 0

    async def waiting(message: str) -> None:
        said.append(message)

    async def step(count: int) -> str:
        nonlocal most
        async with devices.claim_devices({"nvidia.com/gpu": count}, waiting) as variables:
            mine = variables["CUDA_VISIBLE_DEVICES"].split(",")
            assert len(mine) == count
            assert not set(mine) & set(held)
            held.extend(mine)
            most = max(most, len(held))
            await asyncio.sleep(0.01)
            for device in mine:
                held.remove(device)
            return variables["CUDA_VISIBLE_DEVICES"]

    found = await asyncio.gather(*(step(count) for count in (2, 1, 2, 3, 1, 1)))
    assert found[:2] == ["0,1", "2"]
    assert most == 3
    assert "Unschedulable: 0 of 3 GPUs are free, 2 needed" in said
    assert held == []


async def test_a_step_that_asks_for_none_sees_none_and_one_that_asks_for_too_many_is_refused() -> (
    None
):
    devices = MachineDevices({"CUDA_VISIBLE_DEVICES": ("0",), "HIP_VISIBLE_DEVICES": ()})

    async def waiting(message: str) -> None:
        raise AssertionError(message)

    async with devices.claim_devices({}, waiting) as variables:
        assert variables == {"CUDA_VISIBLE_DEVICES": ""}
    for resource, count, shown in (
        ("nvidia.com/gpu", 2, 1),
        ("amd.com/gpu", 1, 0),
        ("gpu.intel.com/i915", 1, 0),
    ):
        with pytest.raises(
            DeviceError, match=f"asks for {count} {resource}, this machine shows {shown}"
        ):
            async with devices.claim_devices({resource: count}, waiting):
                pass
    async with MachineDevices({}).claim_devices({}, waiting) as variables:
        assert variables == {}
