"""Values of a platform file: folders, branches, hosts, starts of image references."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from driftloop.spec.base import matching
from driftloop.spec.values import NamespaceName, SecretName

_PREFIX = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def _folder(text: str) -> str:
    folder = text.removeprefix("./").rstrip("/")
    parts = folder.split("/")
    if not folder or not re.fullmatch(r"[A-Za-z0-9._/-]+", folder):
        raise ValueError("must be a folder of the repository, such as clusters/prod")
    if any(part in ("", ".", "..", ".git") for part in parts):
        raise ValueError(
            "must be a folder below the repository's root, such as clusters/prod, without `.` and `..`"
        )
    return folder


def _branch(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", text) or ".." in text:
        raise ValueError("must be the name of a branch, such as main")
    return text


def _host(text: str) -> str:
    if not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text) or len(text) > 253:
        raise ValueError("must be a host name, such as models.acme.example")
    return text


def _smtp(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9.-]+", host) or not port.isdigit():
        raise ValueError("must be a host and a port, such as smtp.acme.example:587")
    return text


def _remote_key(text: str) -> str:
    fields = set(re.findall(r"\{([^{}]*)\}", text))
    rest = re.sub(r"\{[^{}]*\}", "", text)
    if not {"namespace", "name"} <= fields <= {"namespace", "name", "key"} or not re.fullmatch(
        r"[A-Za-z0-9._/:@-]*", rest
    ):
        raise ValueError(
            "must be a key of the store with {namespace} and {name} in it, such as driftloop/{namespace}/{name}"
        )
    return text


def _address(text: str) -> str:
    if not re.fullmatch(r"(https?|ssh)://[^\s@/]*@?[^\s@/]+/\S+|[\w.-]+@[\w.-]+:\S+", text):
        raise ValueError(
            "must be the address of a git repository, such as https://git.acme.example/ml/cluster.git"
        )
    if re.match(r"https?://[^/]*:[^/]*@", text):
        raise ValueError("must hold no password: Argo CD has its credentials in Secrets")
    return text


RepositoryFolder = Annotated[str, AfterValidator(_folder), Field(min_length=1, max_length=300)]
RepositoryAddress = Annotated[str, AfterValidator(_address), Field(min_length=1, max_length=300)]
BranchName = Annotated[str, AfterValidator(_branch), Field(min_length=1, max_length=200)]
ClusterName = NamespaceName
"""Lower-case letters, digits and hyphens, as folders and options have them."""
ObjectName = SecretName
ImagePrefix = Annotated[
    str,
    matching(
        _PREFIX,
        "must be a registry with folders in it and without a tag, such as registry.acme.example/mirror",
    ),
    Field(min_length=1, max_length=300),
]
"""Start of an image reference that ends with a whole part of it."""
BucketName = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "must be the name of a bucket: 3 to 63 lower-case letters, digits, - and .",
    ),
    Field(max_length=63),
]
MailAddress = Annotated[
    str,
    matching(
        r"[^@\s,<>]+@[A-Za-z0-9.-]+", "must be a mail address, such as ml-oncall@acme.example"
    ),
    Field(max_length=200),
]
SmtpHost = Annotated[str, AfterValidator(_smtp), Field(max_length=260)]
ReceiverName = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9]{0,17}",
        "must be at most 18 lower-case letters and digits, beginning with a letter",
    ),
    Field(max_length=64),
]
"""Short enough for the names of objects, `P-tell-NAME`."""
AgeRecipient = Annotated[
    str,
    matching(r"age1[a-z0-9]{20,2100}", "must be a public key of age, such as age1ql3z7hjy54p…"),
]
"""A recipient as `age-keygen` prints it."""
OpenPgpFingerprint = Annotated[
    str,
    matching(
        r"[0-9A-F]{40}", "must be the fingerprint of an OpenPGP key: 40 digits and letters A to F"
    ),
]
RemoteKey = Annotated[str, AfterValidator(_remote_key), Field(max_length=300)]
Host = Annotated[str, AfterValidator(_host), Field(min_length=1, max_length=253)]
