"""The settings of this machine: the two objects `driftloop-platform` that pods refer to, as
`driftloop up` leaves them in a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_text_map,
    parse_json,
    to_json,
)
from driftloop.contract.platform import Setting
from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import StateFolder, write_json

UP_HINT = "start it with `driftloop up SPEC`, or name the folder with --state"


@dataclass(frozen=True)
class LocalSettings:
    """Keys and values of the ConfigMap and of the Secret."""

    config_map: Mapping[str, str] = document_key("configMap", "an object of texts", is_text_map)
    secret: Mapping[str, str] = document_key("secret", "an object of texts", is_text_map)

    @classmethod
    def load(cls, state: StateFolder) -> "LocalSettings":
        """Read the settings of a state folder; LocalError when nothing was started there, or the
        file is damaged."""
        label = f"the settings in {state.platform}"
        try:
            document: Any = parse_json(files.read_file(state.platform), label=label)
            return from_json(cls, document, label=label)
        except FileNotFoundError as error:
            raise LocalError(f"nothing was started in {state.root}", hint=UP_HINT) from error
        except DocumentError as error:
            raise LocalError(error.message, hint="`driftloop up` writes the file anew") from error

    def save(self, state: StateFolder) -> None:
        """Write the settings into a state folder; only its owner can read them."""
        write_json(state.platform, to_json(self), mode=0o600)

    def __getitem__(self, setting: Setting) -> str:
        """Return the value of a setting; LocalError when it is not set here."""
        held = self.config_map if setting.kind == "ConfigMap" else self.secret
        if setting.key not in held:
            raise LocalError(
                f"`{setting.key}` is not among the settings of this machine",
                hint="another version of driftloop wrote them; run `driftloop up` again",
            )
        return held[setting.key]

    def export(self, settings: Iterable[Setting]) -> dict[str, str]:
        """Return settings as the environment variables that carry them into pods."""
        return {setting.environment: self[setting] for setting in settings}
