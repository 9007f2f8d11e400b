"""A NATS server with the accounts that `driftloop secrets init` makes, and its users' URLs."""

import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from support.processes import NATS_SERVER, PATIENCE, Process, free_port, url

from driftloop.cluster.accounts import NatsPasswords, draft_users
from driftloop.contract.accounts import KNATIVE_USER, NatsRole
from driftloop.contract.platform import nats_url

KNATIVE_PASSWORD = "knatives"


@dataclass
class Accounts:
    """The server; `add` and `change` do what a new Secret and the reloader do."""

    folder: Path
    process: Process
    passwords: dict[str, NatsPasswords] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path, *namespaces: str) -> "Accounts":
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        main = {"host": "127.0.0.1", "port": port, "jetstream": {"store_dir": str(folder / "data")}}
        (folder / "nats.conf").write_text(f"include ./users.conf;\n{json.dumps(main)[1:-1]}\n")
        argv = [str(NATS_SERVER), "-c", str(folder / "nats.conf")]
        server = cls(folder, Process(argv, folder / "nats.log", port))
        server.passwords = {name: NatsPasswords() for name in namespaces}
        server.write()
        server.process.start()
        return server

    def write(self) -> None:
        """Write the users as the Secret has them, whose template puts the values in a row."""
        draft = draft_users(self.passwords, KNATIVE_PASSWORD)
        (self.folder / "users.conf").write_bytes(draft.derive(draft.values)["users.conf"])

    def reload(self) -> None:
        """Have the server read what is written."""
        self.write()
        os.kill(self.process.pid, signal.SIGHUP)

    def load(self, users: str) -> None:
        """Have the server read these users, if they are others than before, and wait until it has."""
        file = self.folder / "users.conf"
        if file.read_text() == users:
            return
        count = self.process.log.read_text().count("Reloaded server configuration")
        file.write_text(users)
        os.kill(self.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while self.process.log.read_text().count("Reloaded server configuration") == count:
            assert time.monotonic() < deadline, self.process.log.read_text()[-2000:]
            time.sleep(0.02)

    def url(self, namespace: str, role: NatsRole) -> str:
        password = self.passwords[namespace].values[role]
        return nats_url(url(self.process), role.of(namespace), password)

    @property
    def knative(self) -> str:
        return nats_url(url(self.process), KNATIVE_USER, KNATIVE_PASSWORD)
