"""The small values a spec is written in: durations, budgets, functions, addresses, quantities.

Every validator says what the value must be; the loader puts file, line, field and the value
found in front.
"""

import re
from datetime import timedelta
from keyword import iskeyword
from math import isfinite
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from driftloop.contract.budgets import read_alarms, read_traffic
from driftloop.contract.limits import REQUEST_LIMITS
from driftloop.contract.names import LONGEST_MONITOR, TOKEN_SUFFIX, is_own_part
from driftloop.contract.platform import OBJECTS
from driftloop.spec import cron

_MEMORY_UNITS = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = r"^[0-9]{1,9}(ms|s|m|h|d)$"
_BUDGET = r"^[0-9]{1,6}/day$"
_LONGEST = timedelta(days=365)


def duration(text: object) -> timedelta:
    """`250ms`, `30s`, `10m`, `6h` or `7d` as a timedelta."""
    if isinstance(text, timedelta):
        return text
    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be a number with a unit, such as 250ms, 30s, 10m, 6h or 7d")
    value = timedelta(milliseconds=int(match[1]) * _UNITS[match[2]])
    if value > _LONGEST:
        raise ValueError("must be at most 365d")
    return value


def written(value: timedelta) -> str:
    """The shortest way to write a duration: the largest unit that divides it."""
    milliseconds = value // timedelta(milliseconds=1)
    for unit, size in sorted(_UNITS.items(), key=lambda item: -item[1]):
        if milliseconds % size == 0 and (milliseconds >= size or unit == "ms"):
            return f"{milliseconds // size}{unit}"
    raise AssertionError(value)


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than 0s")
    return value


def budget(text: object) -> int:
    """`4/day` as 4."""
    match = re.fullmatch(r"([0-9]{1,6})/day", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be a number per day, such as 4/day")
    return int(match[1])


def _false_alarms(text: str) -> str:
    if read_alarms(text) is None:
        raise ValueError(
            "must be a whole number from 1 by day, week, month or year, such as 1/month or 2/year"
        )
    return text


def _traffic(text: str) -> str:
    if read_traffic(text) is None:
        raise ValueError(
            "must be a number of rows above 0 by s, min, h or day, such as 40/s or 2000/day"
        )
    return text


def _function(text: str) -> str:
    module, colon, name = text.partition(":")
    parts = [*module.split("."), name]
    if not colon or not all(
        part.isidentifier() and part.isascii() and not iskeyword(part) for part in parts
    ):
        raise ValueError(
            "must be a module and a function in it, such as train:train or model.train:run"
        )
    if parts[0] == "driftloop":
        raise ValueError(
            "must not be in a module named `driftloop`, the name of this package; rename it"
        )
    return text


def _class(text: str) -> str:
    parts = text.split(".")
    if not all(part.isidentifier() and part.isascii() and not iskeyword(part) for part in parts):
        raise ValueError(
            "must be a Python class, such as Digits (in Digits.py) or models.digits.Digits"
        )
    return text


def _parameter(text: str) -> str:
    if not text.isidentifier() or not text.isascii() or iskeyword(text):
        raise ValueError("must be the name of a Python parameter, such as learning_rate")
    if text in {"data", "out", "checkpoint"}:
        raise ValueError(
            f"must not be `{text}`: data, out and checkpoint are folders that driftloop gives"
        )
    return text


def _server_url(text: str) -> str:
    if re.match(r"https?://[^/]*@", text):
        raise ValueError(
            "must be without user and password: git keeps what a spec says; credentials come from a Secret"
        )
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?", text):
        raise ValueError("must be the address of a server, such as https://mlflow.example.org")
    return text.rstrip("/")


def _s3(text: str) -> str:
    if not re.fullmatch(
        r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=@,+-]+)*/?", text
    ):
        raise ValueError("must be a bucket and a folder in it, such as s3://digits/batches")
    if any(part in {".", ".."} for part in text.removeprefix("s3://").split("/")):
        raise ValueError("must not contain . or .. as a folder")
    return text.rstrip("/")


def _image(text: str) -> str:
    name, _, digest = text.partition("@")
    last = name.rsplit("/", 1)[-1]
    tag = last.partition(":")[2]
    if not re.fullmatch(
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?", name
    ) or (digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest)):
        raise ValueError("must be an image reference, such as ghcr.io/acme/digits-trainer:1.0.0")
    if not digest and not tag:
        raise ValueError(
            "must have a tag or a digest, such as :1.0.0: what it names must never change"
        )
    if not digest and tag == "latest":
        raise ValueError(
            "must not have the tag `latest`: what a reference names must never change; use :1.0.0"
        )
    return text


def _digest(text: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise ValueError("must be sha256: and 64 lower-case hex digits; `--pin` writes it")
    return text


def _tagged(text: str) -> str:
    if "@" in _image(text):
        raise ValueError(
            "must be an image reference with a tag and without a digest: the digest is the pin's value"
        )
    return text


def _context(text: str) -> str:
    parts = text.split("/")
    if (
        text.startswith("/")
        or ".." in parts
        or "\\" in text
        or not text
        or any(part == "" for part in parts[:-1])
    ):
        raise ValueError("must be a folder beside the spec, such as trainer")
    return text.rstrip("/")


def _cron(text: str) -> str:
    cron.parsed(text)
    return " ".join(text.split())


def _literal(text: str) -> str:
    """Text that comes to a container as it is written."""
    for mark, who in (("{{", "Argo"), ("$(", "Kubernetes"), ("$$", "Kubernetes")):
        if mark in text:
            raise ValueError(f"must not contain `{mark}`: {who} puts something else in its place")
    return text


def _word(text: str) -> str:
    if "{{" in text:
        raise ValueError(
            "must not contain `{{`: Argo puts something else in its place; let a script of yours make it"
        )
    return text


def _scalar(value: object) -> bool | int | float | str:
    if not isinstance(value, bool | int | float | str) or (
        isinstance(value, float) and not isfinite(value)
    ):
        raise ValueError("must be text, a finite number, true or false")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("must be a whole number of at most 64 bits: Kubernetes keeps no more")
    return _literal(value) if isinstance(value, str) else value


def _cpu(text: object) -> str:
    if isinstance(text, bool) or not re.fullmatch(
        r"[1-9][0-9]*m|[0-9]{1,4}(\.[0-9]{1,3})?", str(text)
    ):
        raise ValueError('must be a number of cores, such as "1", "0.5" or 500m')
    if not float(str(text).rstrip("m")):
        raise ValueError("must be more than 0")
    return str(text)


def _request_limit(text: str) -> str:
    if text not in REQUEST_LIMITS:
        raise ValueError(f"must be one of: {', '.join(REQUEST_LIMITS)}")
    return text


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}(Ki|Mi|Gi|Ti|k|M|G|T)", text):
        raise ValueError("must be an amount of memory, such as 512Mi or 2Gi")
    return text


def memory_bytes(text: str) -> int:
    """Return a valid amount of memory in bytes."""
    number = text.rstrip("KMGTki")
    return int(number) * _MEMORY_UNITS[text[len(number) :]]


_LABEL_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_HOST = r"(?=.{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def is_label_key(text: str) -> bool:
    """Return True for the key of a Kubernetes label: a name, or a domain, a slash and a name."""
    return re.fullmatch(f"({_LABEL_HOST}/)?{_LABEL_PART}", text) is not None


def _label_name(text: str) -> str:
    if not is_label_key(text):
        raise ValueError(
            "must be a name as Kubernetes takes it, such as nvidia.com/gpu or accelerator"
        )
    return text


def _extended(text: str) -> str:
    domain, slash, _ = _label_name(text).partition("/")
    if (
        not slash
        or domain == "kubernetes.io"
        or domain.endswith(".kubernetes.io")
        or text.startswith("requests.")
    ):
        raise ValueError(
            "must be an extended resource as a device plugin names it, with its maker's domain: nvidia.com/gpu, "
            "nvidia.com/mig-1g.10gb or amd.com/gpu"
        )
    return text


def _label_value(text: str) -> str:
    if not re.fullmatch(f"({_LABEL_PART})?", text):
        raise ValueError(
            "must be the value of a Kubernetes label: at most 63 letters, digits, `-`, `_` and `.`"
        )
    return text


def _person(text: str) -> str:
    if text != text.strip() or not text.isprintable() or any(mark in text for mark in "{$"):
        raise ValueError(
            "must be a name as git or Kubernetes has it, without line breaks, `{` and `$`"
        )
    return text


def _name(longest: int) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", text) or len(text) > longest:
            raise ValueError(
                f"must be at most {longest} lower-case letters, digits and hyphens, beginning with a letter"
            )
        return text

    return AfterValidator(check)


def _object_name(text: str) -> str:
    part = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    if not re.fullmatch(rf"{part}(\.{part})*", text) or len(text) > 253:
        raise ValueError(
            "must be the name of a Kubernetes object: at most 253 lower-case letters, digits, hyphens and dots, "
            "beginning and ending with a letter or digit"
        )
    return text


def _foreign(text: str) -> str:
    if text in OBJECTS or text.endswith(TOKEN_SUFFIX):
        raise ValueError(
            "must be an object of your own: driftloop's hold the keys of platform, git and signing, which a person's "
            "code gets no part of"
        )
    return text


def _monitor(text: str) -> str:
    if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{LONGEST_MONITOR - 1}}}", text):
        raise ValueError(
            f"must be at most {LONGEST_MONITOR} lower-case letters and digits, beginning with a letter"
        )
    if is_own_part(text):
        raise ValueError("must be another name: a pipeline's own objects have this one")
    return text


Duration = Annotated[
    timedelta,
    PlainValidator(duration),
    PlainSerializer(written, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": _DURATION, "examples": ["250ms", "30s", "10m", "6h"]}
    ),
]
"""A length of time with a unit: `250ms`, `30s`, `10m`, `6h`, `7d`."""

PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
"""A length of time above zero."""

RunBudget = Annotated[
    int,
    PlainValidator(budget),
    PlainSerializer(lambda count: f"{count}/day", return_type=str),
    WithJsonSchema({"type": "string", "pattern": _BUDGET, "examples": ["4/day"]}),
]
"""At most so many in 24 hours: `4/day`."""

FalseAlarms = Annotated[
    str,
    AfterValidator(_false_alarms),
    Field(max_length=20, json_schema_extra={"examples": ["1/month", "2/year"]}),
]
"""So many in a time: `1/month`."""
Traffic = Annotated[
    str,
    AfterValidator(_traffic),
    Field(max_length=30, json_schema_extra={"examples": ["40/s", "2000/day"]}),
]
"""So many rows in a time: `40/s`."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of the whole, 0 to 1."""

PersonName = Annotated[str, AfterValidator(_person), Field(min_length=1, max_length=200)]
"""A person as git (`user.name`) or Kubernetes (`username`) names them."""
PipelineName = Annotated[str, _name(34), Field(max_length=64)]
"""Short enough that every object named after it stays within 52 characters."""
NamespaceName = Annotated[str, _name(63), Field(max_length=64)]
SecretName = Annotated[str, AfterValidator(_object_name), Field(max_length=253)]
"""A name of an object as Kubernetes takes it: parts of lower-case letters, digits and dashes, with dots between."""
OwnObjectName = Annotated[SecretName, AfterValidator(_foreign)]
"""Name of a Secret or ConfigMap that is not driftloop's own."""
StepName = Annotated[str, _name(40), Field(max_length=64)]
ProfileName = Annotated[str, _name(40), Field(max_length=64)]
NodeName = Annotated[str, _name(18), Field(max_length=64)]
"""Short enough that the Service which Seldon's operator names after it stays within 63
characters."""
MonitorName = Annotated[str, AfterValidator(_monitor), Field(max_length=64)]
"""Short enough that every object named after it stays within 63 characters."""
KeyName = Annotated[str, _name(40), Field(max_length=64)]
"""Name of a caller's key."""
ImageName = Annotated[str, _name(40), Field(max_length=64)]
Function = Annotated[str, AfterValidator(_function), Field(max_length=200)]
ModelClass = Annotated[str, AfterValidator(_class), Field(max_length=200)]
LabelName = Annotated[str, AfterValidator(_label_name), Field(max_length=320)]
"""A Kubernetes label, taint or resource name: a name, or a domain, a slash and a name."""
ExtendedResource = Annotated[str, AfterValidator(_extended), Field(max_length=320)]
"""Resource of a device plugin: a domain, a slash and a name."""
LabelValue = Annotated[str, AfterValidator(_label_value), Field(max_length=63)]
ParameterName = Annotated[str, AfterValidator(_parameter), Field(max_length=100)]
ServerUrl = Annotated[str, AfterValidator(_server_url), Field(max_length=300)]
"""Address of an HTTP server."""
TrackedName = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
]
"""Name of something at a tracking server."""
S3Uri = Annotated[str, AfterValidator(_s3), Field(max_length=500)]
ImageRef = Annotated[str, AfterValidator(_image), Field(max_length=500)]
TaggedRef = Annotated[str, AfterValidator(_tagged), Field(max_length=500)]
"""An image reference as a pin names it: with its tag, without a digest."""
ImageDigest = Annotated[str, AfterValidator(_digest), Field(max_length=100)]
"""Digest of an image: `sha256:` and 64 hex digits."""
ContextFolder = Annotated[str, AfterValidator(_context), Field(max_length=300)]
Cron = Annotated[str, AfterValidator(_cron), Field(max_length=100)]
Cpu = Annotated[
    str,
    PlainValidator(_cpu),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}], "examples": ["500m"]}),
]
RequestLimit = Annotated[str, AfterValidator(_request_limit), Field(max_length=20)]
Memory = Annotated[str, AfterValidator(_memory), Field(max_length=20)]
Scalar = Annotated[
    bool | int | float | str,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["boolean", "number", "string"]}),
]
"""A value that a training function takes as a parameter."""
Word = Annotated[str, AfterValidator(_word), Field(min_length=1, max_length=2000)]
"""A word of a command; of `$(NAME)` and `$$` Kubernetes makes the variable's value and `$`."""
MetricName = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")
]
"""As the user's function returns it."""
ColumnNames = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*(,[A-Za-z_][A-Za-z0-9_.-]*)*$",
    ),
]
"""A name in an .npz file, or columns of other files, separated by commas."""
ColumnName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")
]
"""A name in an .npz file, or a column of other files."""
