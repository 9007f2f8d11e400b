"""Sources of the batches: files and folders outside the pipeline's bucket."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from driftloop.contract.sources import (
    CREDENTIAL_NAMES,
    TAKEN,
    CredentialName,
    SourceAddress,
    SourceSettings,
    authority_variable,
    check_endpoint,
    credential_variable,
    names_credentials,
    parse_address,
)
from driftloop.spec.base import SpecModel, matching, take_list
from driftloop.spec.environment import ConfigKey, SecretKey, VariableValue


def _url(text: str) -> str:
    parse_address(text)
    return text


def _take_urls(value: Any) -> Any:
    return (value,) if isinstance(value, str) else take_list(value)


SourceUrl = Annotated[str, AfterValidator(_url), Field(max_length=1000)]
_Urls = Annotated[tuple[SourceUrl, ...], Field(min_length=1, max_length=1000)]
SourceUrls = Annotated[_Urls, BeforeValidator(_take_urls, json_schema_input_type=SourceUrl | _Urls)]
"""A URL, or a list of them."""
Endpoint = Annotated[str, AfterValidator(check_endpoint), Field(max_length=300)]
"""Address of an object store."""
Host = Annotated[
    str,
    matching(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?",
        "must be a host in lower case, such as objects.example.org",
    ),
    Field(max_length=260),
]
"""A host, with a port where it is not 443."""
BatchName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        "must be a file name of letters, digits, `-`, `_` and `.`, such as penguins.csv",
    ),
    Field(max_length=200),
]
Sha256 = Annotated[
    str,
    matching(r"[0-9a-f]{64}", "must be 64 lower-case hex digits, as `sha256sum` prints them"),
    Field(max_length=64),
]
Region = Annotated[
    str, matching(r"[a-z0-9-]+", "must be a region, such as eu-central-1"), Field(max_length=60)
]
Account = Annotated[
    str,
    matching(r"[a-z0-9]{3,24}", "must be a storage account: 3 to 24 lower-case letters and digits"),
    Field(max_length=24),
]


class SourceCredentials(SpecModel):
    """What opens a source: keys of Secrets of the pipeline's namespace."""

    token: SecretKey | None = None
    """https: sent as `Authorization: Bearer`."""
    user: SecretKey | None = None
    """https: user of a basic login."""
    password: SecretKey | None = None
    """https: password of a basic login."""
    access_key: SecretKey | None = None
    """s3: access key."""
    secret_key: SecretKey | None = None
    """s3: secret key."""
    session_token: SecretKey | None = None
    """s3: token of temporary keys."""
    service_account: SecretKey | None = None
    """gs: key of a service account, the JSON file as Google gives it."""
    account_key: SecretKey | None = None
    """azure: key of the storage account."""
    sas: SecretKey | None = None
    """azure: shared access signature."""

    @property
    def keys(self) -> Mapping[CredentialName, SecretKey]:
        """Credentials that are named."""
        fields = ((name, getattr(self, name.replace("-", "_"))) for name in CREDENTIAL_NAMES)
        return {name: key for name, key in fields if key is not None}

    def walk_keys(self) -> Iterator[tuple[str, SecretKey]]:
        """Yield each key and the field where it stands."""
        for name, key in self.keys.items():
            yield to_camel(name.replace("-", "_")), key


NO_CREDENTIALS = SourceCredentials()


class DataSource(SpecModel):
    """A file or folder elsewhere, whose files are batches, too."""

    url: SourceUrls
    """`https://` of a file, or a list of such; a folder or file of `s3://`, `gs://`, `az://` or `abfs://`;
    `file://` with a whole path, on one machine only."""
    file: BatchName | None = None
    """Name of the batch, where the last part of its `https` address is none, such as `penguins.csv`: its ending
    says how it is read."""
    sha256: Sha256 | None = None
    """Digest that the one file must have; with another the run ends."""
    endpoint: Endpoint | None = None
    """Address of the store, of `s3` (when left out: Amazon's), `gs` and `az`."""
    region: Region | None = None
    """Region of the bucket of `s3` (when left out: us-east-1)."""
    account: Account | None = None
    """Storage account of `az://`."""
    redirects: Annotated[tuple[Host, ...], Field(max_length=20), BeforeValidator(_take_urls)] = ()
    """Other hosts that an `https` address may send on to; they get no credentials."""
    credentials: SourceCredentials = NO_CREDENTIALS
    """Keys of Secrets that open it; without any it is read as anybody may."""

    authority: VariableValue | None = None
    """Certificates (PEM) of an authority of your own that the server's is from: the text, or `{config: NAME, key: KEY}`."""

    @property
    def address(self) -> SourceAddress:
        """The first URL, taken apart."""
        return parse_address(self.url[0])

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        kind = self.address.kind
        if len(self.url) > 1 and any(parse_address(each).kind != "https" for each in self.url):
            raise ValueError("must have one `url` unless all are https; give each its own name")
        for field, value, kinds in (
            ("file", self.file, ("https",)),
            ("endpoint", self.endpoint, ("s3", "gs", "azure")),
            ("region", self.region, ("s3",)),
            ("account", self.account, ("azure",)),
            ("redirects", self.redirects, ("https",)),
            ("authority", self.authority, ("https", "s3", "gs", "azure")),
        ):
            if value and kind not in kinds:
                raise ValueError(f"must have no `{field}`: it is of {' and '.join(kinds)} only")
        if (self.file is not None or self.sha256 is not None) and len(self.url) > 1:
            raise ValueError("must have one `url` with `file` or `sha256`; give each its own name")
        if kind == "azure" and bool(self.account) == bool(self.address.account):
            raise ValueError(
                "must have `account` with az://, and none with abfs://, which names it"
            )
        given = frozenset(self.credentials.keys)
        if given and given not in map(frozenset, TAKEN[kind]):
            raise ValueError(f"must have credentials of {kind}: {names_credentials(kind)}")
        return self

    def make_settings(self, name: str) -> SourceSettings:
        """Return it as the steps that read it are told."""
        return SourceSettings(
            name=name,
            urls=self.url,
            file=self.file,
            sha256=self.sha256,
            endpoint=self.endpoint,
            region=self.region,
            account=self.account or self.address.account or None,
            redirects=self.redirects,
        )

    def name_variables(self, name: str) -> dict[str, str | SecretKey | ConfigKey]:
        """Return its credentials and certificates as variables of the steps that read it."""
        keys = self.credentials.keys.items()
        variables: dict[str, str | SecretKey | ConfigKey] = {
            credential_variable(name, each): key for each, key in keys
        }
        if self.authority is not None:
            variables[authority_variable(name)] = self.authority
        return variables
