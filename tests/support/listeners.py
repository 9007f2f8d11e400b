"""The TCP sockets that the processes of a running instance listen on."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

LISTEN = "0A"


def listeners_of(state: Path) -> dict[str, str]:
    """`<address>:<port>` of every listening socket -> the command line of its process, for all
    processes that carry the state folder's mark, and `up` itself."""
    sockets = {
        inode: address
        for table in ("tcp", "tcp6")
        for address, inode in _listening(Path(f"/proc/net/{table}"))
    }
    held: dict[str, str] = {}
    for process in _processes(state):
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        for inode in _sockets(process):
            if inode in sockets:
                held[sockets[inode]] = command
    return held


def is_loopback(address: str) -> bool:
    """Whether `<address>:<port>` can be reached from this machine only."""
    ip = ipaddress.ip_address(address.rpartition(":")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _processes(state: Path) -> Iterator[Path]:
    mark = f"DRIFTLOOP_CHILD_OF={state.resolve()}".encode()
    holder = (state / "run" / "lock").read_text().strip()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.name == holder or mark in (entry / "environ").read_bytes().split(b"\0"):
                yield entry
        except OSError:
            continue


def _sockets(process: Path) -> Iterator[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _listening(table: Path) -> Iterator[tuple[str, str]]:
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN:
            host, _, port = fields[1].partition(":")
            yield f"{_address(bytes.fromhex(host))}:{int(port, 16)}", fields[9]


def _address(words: bytes) -> str:
    """The address that the kernel prints as words in the machine's (little-endian) order."""
    raw = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
    return str(ipaddress.ip_address(raw))
