"""The program `sops`: Secrets encrypted and decrypted, a plain one never in a file."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.errors import PipelineError
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_mapping

ENCRYPTED = "^(data|stringData)$"
"""Fields of a Secret whose values are encrypted; all others stay readable."""
_INSTALL = "https://github.com/getsops/sops/releases has it, so have Homebrew and nixpkgs"
_LONGEST = 60
"""Seconds; a gpg that asks for a passphrase, or a key service in a cloud, may take some."""


class SopsError(PipelineError):
    """`sops` is not there, or did not encrypt or decrypt."""


@dataclass(frozen=True)
class SopsProgram:
    """The program, for files of a folder whose `.sops.yaml` has rules, with the keys that everything is encrypted for."""

    folder: Path
    age: tuple[str, ...] = ()
    pgp: tuple[str, ...] = ()

    def encrypt(self, secret: dict[str, Any], path: str) -> str:
        """Return a Secret with its values encrypted, as text; `path` is where it will stand, by which rules are chosen."""
        keys = [f"--{name}={','.join(own)}" for name, own in self._keys if own]
        return self._run(
            ["encrypt", *keys, f"--encrypted-regex={ENCRYPTED}"],
            dump_yaml(secret),
            path,
            "name public keys in `spec.secrets.age` or `spec.secrets.pgp` of the platform file, or write rules into .sops.yaml",
        )

    def decrypt(self, text: str, path: str) -> dict[str, Any]:
        """Return a Secret with its values in clear."""
        plain = self._run(
            ["decrypt"],
            text,
            path,
            "the private key must be at hand: SOPS_AGE_KEY_FILE names that of age, gpg has its own",
        )
        return load_mapping(plain, path)

    @property
    def _keys(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("age", self.age), ("pgp", self.pgp)

    def _run(self, words: list[str], given: str, path: str, hint: str) -> str:
        program = shutil.which("sops")
        if program is None:
            raise SopsError(
                "the program `sops` is not on this machine, Secrets of this cluster are encrypted by it",
                hint=f"install sops 3.9 or newer and put it on PATH: {_INSTALL}",
            )
        # in the folder where it was called: variables such as SOPS_AGE_KEY_FILE may have a relative path
        rules = self.folder / ".sops.yaml"
        chosen = [f"--config={rules.resolve()}"] if rules.is_file() else []
        place = f"--filename-override={(self.folder / path).resolve()}"
        kinds = ["--input-type=yaml", "--output-type=yaml", place]
        try:
            done = subprocess.run(
                [program, *chosen, *words, *kinds, "/dev/stdin"],
                input=given,
                capture_output=True,
                text=True,
                check=False,
                timeout=_LONGEST,
            )
        except subprocess.TimeoutExpired as error:
            raise SopsError(
                f"`sops {words[0]}` of {path} took more than {_LONGEST} s", hint=hint
            ) from error
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise SopsError(f"`sops {words[0]}` of {path} failed: {said}", hint=hint)
        return done.stdout
