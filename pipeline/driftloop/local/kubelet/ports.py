"""Ports of a pod's containers: a free one of this machine stands for each that is declared."""

import re
from collections.abc import Iterable, Mapping, Sequence

from driftloop.errors import LocalError

_EVERYWHERE = re.compile(r"(?:^|(?<=[=/]))(?:0\.0\.0\.0|::|\[::\](?=:\d|$))(?=:\d|$)")
"""All addresses of a pod, where a program is told to listen on them."""


def require_told(
    where: str, port: int, programs: Iterable[tuple[Sequence[str], Mapping[str, str]]]
) -> None:
    """Raise LocalError unless the words or variables of a program tell it this port: here it gets
    another one."""
    text = str(port)
    for words, variables in programs:
        if any(text == word or word.endswith((f"={text}", f":{text}")) for word in words):
            return
        if any(value == text and "PORT" in name.upper() for name, value in variables.items()):
            return
        if any(
            re.search(rf"(?:127\.0\.0\.1|localhost|0\.0\.0\.0):{text}\b", value)
            for value in variables.values()
        ):
            return
    raise LocalError(
        f"{where}: port {port} is declared, but neither command, args nor env say so",
        hint="pass it (`--port 8080`, or an env variable that ends in PORT), so that a free port can stand for it",
    )


def localize_word(word: str, ports: Mapping[int, int]) -> str:
    """Return a word of a command line with the ports of this machine."""
    return str(ports[int(word)]) if _is_port(word, ports) else localize_text(word, ports)


def localize_variable(name: str, value: str, ports: Mapping[int, int]) -> str:
    """Return the value of an environment variable with the ports of this machine."""
    if _is_port(value, ports) and "PORT" in name.upper():
        return str(ports[int(value)])
    return localize_text(value, ports)


def localize_text(text: str, ports: Mapping[int, int]) -> str:
    """Replace `<loopback>:<container port>` and `--flag=<container port>`, and "all addresses" by
    the loopback one."""

    def replace_port(match: re.Match[str]) -> str:
        port = int(match[2])
        return f"{match[1]}{ports.get(port, port)}"

    text = re.sub(r"((?:127\.0\.0\.1|localhost|0\.0\.0\.0|\[::\]):)(\d+)\b", replace_port, text)
    text = re.sub(r"^(--?[A-Za-z-]*port=)(\d+)$", replace_port, text)
    return _EVERYWHERE.sub("127.0.0.1", text)


def _is_port(text: str, ports: Mapping[int, int]) -> bool:
    return text.isascii() and text.isdigit() and int(text) in ports
