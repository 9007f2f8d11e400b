"""Everything a user can fix.

PipelineError
├── SpecError        the spec: says file, line and column, the value found and what is allowed
├── ReleaseError     a release asked to move where it can't
├── RenderError      a tree that would overwrite hand-written files, or differs from its spec
├── GitError         a repository that can't be reached, read or written
├── LocalError       the local runtime: a port, a program, an environment, a folder
├── InstallationError  an extra of the package, or a program, that is not installed
├── RegistryError    an image registry: unreachable, refuses, does not have the image
├── StoreError       S3 or NATS: unreachable, refused, full
└── StepError        a workflow step: its input or the user's function

Anything else that escapes is a bug and keeps its traceback. Foreign exceptions are translated
where they are met.
"""


class PipelineError(Exception):
    """One sentence on what is wrong, and a hint that says what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class SpecError(PipelineError):
    """The spec is not what the schema allows."""


class ReleaseError(PipelineError):
    """A release can't make this move from where it stands."""


class RenderError(PipelineError):
    """A tree can't be written or does not match its spec."""


class GitError(PipelineError):
    """A repository can't be reached, read or written."""


class LocalError(PipelineError):
    """The local runtime can't start or keep something running."""


class InstallationError(PipelineError):
    """Something that a command needs is not installed."""


class RegistryError(PipelineError):
    """An image registry is unreachable, refuses, or does not have the image."""


class StoreError(PipelineError):
    """S3 or NATS is unreachable, refuses, or has no room."""


class StepError(PipelineError):
    """A workflow step's input or the user's function is at fault."""
