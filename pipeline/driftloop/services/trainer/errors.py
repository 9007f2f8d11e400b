"""Errors of the wrapper when the user's function, or its input, is at fault."""


class TrainerError(Exception):
    """One sentence, a hint, and the lines of the user's own code that led there."""

    def __init__(
        self, message: str, *, hint: str | None = None, trace: str = "", code: int = 1
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.trace = trace
        self.code = code
        """Exit code of the wrapper."""
