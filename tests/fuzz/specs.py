"""Specs that were damaged by hand, by an editor, or on purpose."""

import json
from random import Random
from typing import Any

import yaml

from tests.fuzz import values

SCALARS = (
    "!!python/object/apply:os.system [id]", "!!binary x", "!!set {a, b}", "!!timestamp 2026-13-45", "!custom x", "&a [*a]",
    "*nothing", "<<: *a", "0o17", "0x_", "1__0", ".nan", "-.inf", "12e999", "9" * 5000, "2026-02-30", "1:30:99", "yes", "no",
    "~", "|", ">-", "? [a]", "{? {a: b} : c}", "[a, b", "'a", '"\\ud800"', '"\\x00"', "@a", "`a`", "%a", "\t", "{{a}}", "a: b: c",
    "- - - a", "\u2028", "\u0085", "\ufeff", "💥",
)  # fmt: skip


def hostile_spec(random: Random, source: str) -> bytes:
    """A spec with text, structure or bytes of it changed."""
    match random.randrange(10):
        case 0:
            return values.mutate_bytes(random, source.encode())
        case 1:
            return _bomb(random, source).encode()
        case 2 | 3 | 4:
            return _mutate_lines(random, source).encode("utf-8", "surrogatepass")
        case 5 | 6 | 7:
            return _write(random, _replace_leaf(random, yaml.safe_load(source)))
        case _:
            return _write(random, _mutate_spec(random, yaml.safe_load(source)))


def _mutate_spec(random: Random, document: Any) -> Any:
    changed = values.mutate_document(random, document)
    spots = [spot for spot in values.places(changed) if isinstance(spot[0], dict)]
    if spots and random.random() < 0.3:
        container, key = random.choice(spots)
        other, name = random.choice(spots)
        container[key] = other[name] if not isinstance(other[name], dict | list) else [key]
    return changed


def _replace_leaf(random: Random, document: Any) -> Any:
    """One value replaced by another one of its kind, so that more than the schema has to see it."""
    leaves = [
        (container, key)
        for container, key in values.places(document)
        if not isinstance(container[key], dict | list)
    ]
    container, key = random.choice(leaves)
    match container[key]:
        case bool():
            container[key] = not container[key]
        case int() | float():
            container[key] = random.choice((*values.NUMBERS, 3, 7, 0.5, 100))
        case _:
            others = [str(each[name]) for each, name in leaves]
            container[key] = random.choice(
                (*values.TEXTS, *others, "a", "a-b", "5m", "s3://a/b", "x:y")
            )
    return document


def _write(random: Random, document: Any) -> bytes:
    """As YAML with its own quotes, or as JSON, which is YAML too."""
    if random.random() < 0.5:
        return json.dumps(document, ensure_ascii=random.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    text: str = yaml.dump(document, allow_unicode=True, width=80)
    return text.encode("utf-8", "surrogatepass")


def _mutate_lines(random: Random, source: str) -> str:
    lines = source.splitlines()
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(lines))
        line = lines[at]
        key, colon, _rest = line.partition(": ")
        match random.randrange(8):
            case 0:
                lines[at : at + 1] = [line, line]
            case 1:
                del lines[at : at + random.choice((1, 1, 5))]
            case 2:
                lines[at] = " " * random.randrange(1, 5) + line
            case 3:
                lines[at] = line.lstrip()
            case 4:
                lines[at] = line + random.choice(SCALARS)
            case 5:
                lines.insert(
                    at,
                    random.choice(
                        (f"{random.choice(values.TEXTS)[:200]}: 1", "---", "...", "%YAML 9.9")
                    ),
                )
            case _ if colon:
                lines[at] = f"{key}: {random.choice((*SCALARS, *values.TEXTS))}"
        if not lines:
            return ""
    return "\n".join(lines) + "\n"


def _bomb(random: Random, source: str) -> str:
    levels = random.choice((5, 12, 30))
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return random.choice(
        (
            "\n".join(lines) + "\n" + source,
            source + f"\nx: {values.deep(random)}\n",
            source.replace("metadata:", "metadata: &m\n  labels: *m\nx:", 1),
            source + "".join(f"k{n}: {n}\n" for n in range(50_000)),
            source + "---\n" * 1000 + source,
            "&a " + source,
        )
    )
