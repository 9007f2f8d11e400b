"""Fields of the spec by their paths, from the schema that editors read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from driftloop.spec.forms import Schema, list_forms

_DEEPEST = 6
"""Fields within each other among which a name is looked for."""


@dataclass(frozen=True)
class Member:
    """A field of one or more forms of a value."""

    name: str
    parts: tuple[Schema, ...]
    """What each form that has it says of it; each once."""
    required: bool
    """Every form that has it needs it."""
    only: str
    """Where it is; empty where all forms have it."""


def list_members(forms: Sequence[Schema]) -> Iterator[Member]:
    """Yield the fields of all forms, each once."""
    forms = [form for form in forms if form.get("properties")]
    kind = _find_kind(forms)
    names = dict.fromkeys(name for form in forms for name in form["properties"])
    for name in names:
        having = [form for form in forms if name in form["properties"]]
        parts: list[Schema] = []
        for form in having:
            if (part := form["properties"][name]) not in parts:
                parts.append(part)
        needing = [form for form in having if name in form.get("required", ())]
        only = ""
        if kind and len(having) < len(forms):
            rest = [form for form in forms if name not in form["properties"]]
            few = len(having) <= len(rest)
            only = (
                f"with {_name_forms(kind, having)}"
                if few
                else f"not with {_name_forms(kind, rest)}"
            )
        elif kind and name != kind and 0 < len(needing) < len(having):
            only = f"needed with {_name_forms(kind, needing)}"
        yield Member(name, tuple(parts), len(needing) == len(having), only)


def _find_kind(forms: Sequence[Schema]) -> str:
    """Return the field whose value tells forms apart; empty without one."""
    for name in forms[0]["properties"] if len(forms) > 1 else ():
        values = [form["properties"].get(name, {}).get("const") for form in forms]
        if None not in values and len(set(values)) == len(forms):
            return str(name)
    return ""


def _name_forms(kind: str, forms: Sequence[Schema]) -> str:
    values = (f"`{form['properties'][kind]['const']}`" for form in forms)
    return f"{kind} {' or '.join(values)}"


def find_any_name(forms: Sequence[Schema]) -> Member | None:
    """Return what a form holds under names that people choose."""
    for form in forms:
        if isinstance(inner := form.get("additionalProperties"), dict):
            return Member("", (inner,), False, "")
    return None


def find_elsewhere(whole: Schema, name: str, at: Sequence[str] = ()) -> str:
    """Return where there is a field or a value of this name, in words; empty where there is none, and where another form
    of the value has it at the path `at` itself."""
    found = [path for path, said in _walk_spec(whole, [whole], ()) if name == said]
    if any(_is_same(path.split("."), at) for path in found):
        return ""
    found.sort(key=lambda path: (path.count("."), path))
    return f"there is {' and '.join(f'`{path}`' for path in found[:2])}" if found else ""


def _is_same(steps: Sequence[str], at: Sequence[str]) -> bool:
    return len(steps) == len(at) and all(a in (b, "NAME") for a, b in zip(steps, at, strict=True))


def _walk_spec(
    whole: Schema, forms: Sequence[Schema], above: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Yield the path of each field with its name, and of each kind, `detector: estimate`, with its value."""
    if len(above) > _DEEPEST:
        return
    members = [*list_members(forms)]
    if (inner := find_any_name(forms)) is not None:
        members.append(replace(inner, name="NAME"))
    for member in members:
        path = (*above, member.name)
        yield ".".join(path), member.name
        for value in (part["const"] for part in member.parts if "const" in part):
            yield f"{'.'.join(path)}: {value}", str(value)
        held = [form for part in member.parts for form in list_held(whole, part)]
        yield from _walk_spec(whole, held, path)


def list_held(whole: Schema, part: Schema) -> Iterator[Schema]:
    """Yield the forms that a value may have, lists by their items."""
    for form in list_forms(whole, part):
        items = form.get("items")
        if form.get("type") == "array" and isinstance(items, dict):
            yield from list_held(whole, items)
        else:
            yield form
