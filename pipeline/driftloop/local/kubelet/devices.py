"""The GPUs of this machine: a step claims whole ones, and other steps wait until it is done with
them.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from driftloop.errors import LocalError


class DeviceError(LocalError):
    """A step asks for more GPUs than this machine has."""


@dataclass(frozen=True)
class DeviceVendor:
    """Names of one maker's devices: in limits, below /dev, and in a process's environment."""

    resource: str
    """Prefix of its extended resources."""
    device: str
    """Pattern of its device files, below /dev."""
    variable: str
    """The environment variable that says which ones a process sees."""


VENDORS = (
    DeviceVendor("nvidia.com/", r"nvidia\d+", "CUDA_VISIBLE_DEVICES"),
    DeviceVendor("amd.com/gpu", r"dri/renderD\d+", "HIP_VISIBLE_DEVICES"),
)


def list_visible(
    vendor: DeviceVendor, files: Iterable[str], environment: Mapping[str, str]
) -> tuple[str, ...]:
    """The devices a program started here would see: all, or those that the vendor's variable names.

    `files` are names below /dev. Programs count from 0, whatever the files' numbers are.
    """
    there = [file for file in files if re.fullmatch(vendor.device, file)]
    named = environment.get(vendor.variable)
    if not there or named is None:
        return tuple(str(number) for number in range(len(there)))
    devices: list[str] = []
    for name in (part.strip() for part in named.split(",")):
        # what comes after a number that is none of them is not seen either; -1 is the usual way to hide all
        if not name or (re.fullmatch(r"-?\d+", name) and not 0 <= int(name) < len(there)):
            break
        if name not in devices:
            devices.append(name)
    return tuple(devices)


@dataclass
class MachineDevices:
    """The devices of each vendor's that this machine shows, and which of them are free."""

    shown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The vendor's variable -> devices."""

    def __post_init__(self) -> None:
        self._free = {variable: list(devices) for variable, devices in self.shown.items()}
        self._changed = asyncio.Condition()

    @classmethod
    def find_devices(cls, files: Iterable[str], environment: Mapping[str, str]) -> "MachineDevices":
        """Those of this machine."""
        listed = list(files)
        return cls(
            {vendor.variable: list_visible(vendor, listed, environment) for vendor in VENDORS}
        )

    @contextlib.asynccontextmanager
    async def claim_devices(
        self, limits: Mapping[str, int], waiting: Callable[[str], Awaitable[None]]
    ) -> AsyncIterator[Mapping[str, str]]:
        """Hold what a container's limits ask for; inside, the variables its process gets.

        DeviceError when this machine shows fewer. A step that asks for none sees none, as in a
        cluster.
        """
        needed = {variable: 0 for variable, devices in self.shown.items() if devices}
        for resource, count in limits.items():
            vendor_of = next(
                (vendor for vendor in VENDORS if resource.startswith(vendor.resource)), None
            )
            shown = self.shown.get(vendor_of.variable, ()) if vendor_of is not None else ()
            if vendor_of is None or count > len(shown):
                raise DeviceError(
                    f"the step asks for {count} {resource}, this machine shows {len(shown)}",
                    hint="run it where there is one, or set `gpu: 0` in the spec's resources to train on the processor",
                )
            needed[vendor_of.variable] = count
        held: dict[str, list[str]] = {}
        async with self._changed:
            while any(count > len(self._free[variable]) for variable, count in needed.items()):
                await waiting(f"Unschedulable: {self._format_shortage(needed)}")
                await self._changed.wait()
            for variable, count in needed.items():
                free = self._free[variable]
                held[variable], self._free[variable] = free[:count], free[count:]
        try:
            yield {variable: ",".join(devices) for variable, devices in held.items()}
        finally:
            async with self._changed:
                for variable, devices in held.items():
                    # in the order of the machine, so that a lone step always gets the first
                    kept = {*self._free[variable], *devices}
                    self._free[variable] = [
                        device for device in self.shown[variable] if device in kept
                    ]
                self._changed.notify_all()

    def _format_shortage(self, needed: Mapping[str, int]) -> str:
        return ", ".join(
            f"{len(self._free[variable])} of {len(self.shown[variable])} GPUs are free, {count} needed"
            for variable, count in needed.items()
            if count > len(self._free[variable])
        )
