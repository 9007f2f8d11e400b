"""Start a model server on this machine, outside any pod: the server of a rehearsal, with a model
in a folder."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from driftloop.contract.names import MODEL_PORT, REHEARSED_EXIT, REHEARSED_LOG
from driftloop.local.ground.own_values import OwnValues
from driftloop.local.ground.state import free_port
from driftloop.local.kubelet.images import LocalImage
from driftloop.local.kubelet.values import start_own
from driftloop.operations.servers.rehearsal import BesideServer
from driftloop.plan import Plan
from driftloop.resources.serving import servers
from driftloop.resources.serving.rehearsal import rehearsed_servers


@contextlib.contextmanager
def start_server(
    plan: Plan,
    image: LocalImage,
    model: Path,
    folder: Path,
    *,
    own: OwnValues,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[BesideServer]:
    """Run the server that the plan rehearses inside the `with`, with its log and its exit code in
    `folder`; all of it ends then. `environment` is added to the image's own, and what the spec gives it, with the
    values of `own`."""
    container, port = rehearsed_servers(plan)[0], free_port()
    given = start_own("spec.serve", plan.serve.environment, own, folder / "volumes")
    replaced = {str(MODEL_PORT): str(port), str(servers.METRICS_PORT): str(free_port())}
    variables = {**image.build_environment(), **environment, **given.variables}
    for variable in container.env or ():
        if variable.name in given.variables:
            continue
        value = replaced.get(variable.value or "", variable.value or "")
        variables[variable.name] = value.replace(servers.MODEL_URI, str(model))
    words = container.args or ()
    watch = f'"$@" > "$0/{REHEARSED_LOG}" 2>&1; echo $? > "$0/{REHEARSED_EXIT}"'
    process = subprocess.Popen(
        ["/bin/sh", "-c", watch, str(folder), image.find_program(words[0]), *words[1:]],
        env=variables,
        cwd=image.app,
        start_new_session=True,
    )
    try:
        yield BesideServer("candidate", f"http://127.0.0.1:{port}", folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
