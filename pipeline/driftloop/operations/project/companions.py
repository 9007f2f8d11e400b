"""Files of a project beside its spec and code: README.md, .gitignore, the schema that editors read."""

import json
from pathlib import Path

from driftloop import __version__
from driftloop.contract.trees import SPEC
from driftloop.spec import schema

SCHEMA_FILE = "pipeline.schema.json"
SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
"""First line of a spec: editors complete it, and mark what is wrong."""
_IGNORED = f"""\
# state and environments of `driftloop up`, with values of this machine (local.yaml)
.driftloop/
# made by `driftloop schema > {SCHEMA_FILE}`
{SCHEMA_FILE}
__pycache__/
.venv/
"""


def make_companions(name: str, description: str, data: str) -> dict[str, str]:
    """Return the files of a project for pipeline `name`, path -> text."""
    return {
        "README.md": _write_readme(name, description, data),
        ".gitignore": _IGNORED,
        SCHEMA_FILE: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


def list_missing_lines(folder: Path) -> tuple[str, ...]:
    """Return the lines that a project's own .gitignore lacks."""
    own = {line.strip() for line in (folder / ".gitignore").read_text("utf-8").splitlines()}
    wanted = (line for line in _IGNORED.splitlines() if not line.startswith("#"))
    return tuple(line for line in wanted if line not in own and line.rstrip("/") not in own)


def _write_readme(name: str, description: str, data: str) -> str:
    return f"""\
# {name}

{description[0].upper()}{description[1:]}. Written by `driftloop init` of driftloop {__version__}.

| | |
|---|---|
| `{SPEC}` | the pipeline: data, training, gates, server, monitors, rollout; `driftloop explain` says what each field means |
| `trainer/` | image that trains: functions that `{SPEC}` names, `requirements.in`, and the lock `requirements.txt` made of it |
| `server/` | image that answers: a class that opens the trained model |

Data: {data}

On this machine, with `pip install 'driftloop[local]'`:

```sh
driftloop validate {SPEC}
driftloop up {SPEC} --detach
driftloop trigger {name} --wait
driftloop status
```

On a cluster, whose repository Flux or Argo CD follows:

```sh
driftloop build {SPEC} --registry registry.example --write --push
driftloop commit {SPEC} --repository "$GIT_URL" --pin
```

Editors with a YAML language server read `{SCHEMA_FILE}`; `driftloop schema > {SCHEMA_FILE}` writes that of another version.
"""
