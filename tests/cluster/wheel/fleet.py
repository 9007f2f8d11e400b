"""A person with the wheel, a registry that asks for a password, and a Flux repository laid out as `clusters/NAME`."""

import json
import shutil
import subprocess
from pathlib import Path

from cluster.guide import Terminal
from cluster.guided import make_environment
from cluster.listener import Listener
from cluster.registry import HOST
from cluster.world import ROOT, World
from uv import find_uv_bin

USER, PASSWORD = "acme", "s3cret"
PROJECT = Path(__file__).parent / "penguins"
LOOP = f"{HOST}/loop"
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
TEXTS = ["island", "sex"]
SPECIES = ("Adelie", "Chinstrap", "Gentoo")
REGISTRIES = f"""\
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "127.0.0.1:5000"
insecure = true
[[registry]]
location = "{HOST}"
insecure = true
"""
"""How this machine's buildah reaches the kit's registry, and that of the company, which has no TLS."""
APPS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: of-another-team, namespace: default}
data: {kept: "yes"}
"""
APPS_KUSTOMIZATION = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  interval: 10m
  path: ./apps
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
"""


class Fleet(World):
    """The repository, the cluster that is up, and the person's machine."""

    name = "penguins"
    kinds = ("known", "colony")
    names = NUMBERS + TEXTS

    def __init__(self, folder, port, passwords):
        super().__init__(folder, port, passwords)
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.program = (str(self.home / "venv" / "bin" / "driftloop"),)
        self.refused = []
        self.listener = Listener()
        self._shell = Terminal(self.home, self._variables())
        self.cluster = self.known("cluster", "staging")

    @property
    def cluster(self):
        """The cluster that is up, by the name in its platform file."""
        return self._cluster

    @cluster.setter
    def cluster(self, name):
        self._cluster = name
        self.trees = f"driftloop/{name}/"
        self.remember(cluster=name)

    def leave_cluster(self, name):
        """From now on another cluster is meant."""
        if self._traffic is not None:
            self._traffic.stop()
            self._traffic = None
        self.kube.close()
        self.cluster = name

    def close(self):
        self.listener.close()
        super().close()

    def _variables(self):
        """Of a person's shell: git's and the registry's credentials."""
        (self.home / "registries.conf").write_text(REGISTRIES)
        return make_environment(self, self.home, self.home / "venv" / "bin") | {
            "DRIFTLOOP_GIT_USERNAME": "bot",
            "DRIFTLOOP_GIT_PASSWORD": self.passwords["bot"],
            "CONTAINERS_REGISTRIES_CONF": str(self.home / "registries.conf"),
            "REGISTRY_AUTH_FILE": str(self.home / "auth.json"),
        }

    def types(self, commands, *, cwd=None, timeout=1800):
        """What a person types; the output is told."""
        said = self._shell.run(f"exec 2>&1\n{commands}", cwd=cwd or self.home, timeout=timeout)
        for line in said.splitlines()[-15:]:
            self.say(f"  {line[:300]}")
        return said

    def install(self):
        """The wheel of this project in an environment of its own, and nothing else of it."""
        subprocess.run(
            [find_uv_bin(), "build", "-q", "--wheel", "-o", self.home / "wheel"],
            cwd=ROOT,
            check=True,
        )
        self.types(
            "uv venv -q --python 3.11 venv\nuv pip install -q -p venv wheel/*.whl\ndriftloop version"
        )

    def lay_out(self):
        """The company's repository as it is before driftloop comes."""
        self.git("init", "-q", "--bare", "-b", "main", self.bare, cwd=self.folder)
        self.types("git clone -q $GIT_URL fleet")
        fleet = self.home / "fleet"
        (fleet / "apps").mkdir()
        (fleet / "apps" / "settings.yaml").write_text(APPS)
        for cluster in ("staging", "prod"):
            (fleet / "clusters" / cluster).mkdir(parents=True)
            (fleet / "clusters" / cluster / "apps.yaml").write_text(APPS_KUSTOMIZATION)
        self.types(
            "git add -A\ngit commit -qm 'What we run'\ngit push -q origin HEAD:main", cwd=fleet
        )

    def push(self, message):
        """Commit what lies in the working copy."""
        self.types(
            f"git add -A\ngit commit -qm '{message}'\ngit pull -q --rebase\ngit push -q origin HEAD:main",
            cwd=self.home / "fleet",
        )

    def begin_project(self):
        """A project of the template that is nearest, with the person's own model in it."""
        project = self.home / self.name
        self.types(f"driftloop init {self.name} --template flights")
        for old in ("trainer/delays.py", "server/Flights.py", "batches.py"):
            (project / old).unlink()
        shutil.copytree(PROJECT, project, dirs_exist_ok=True)
        dockerfile = project / "server" / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace('"Flights"', '"Penguins"'))

    def batch(self, kind, seed, number):
        """A file of labelled rows, put into the pipeline's folder."""
        self.types(
            f"uv run -q {self.name}/rows.py {kind} {seed} {number} {kind}-{seed}.csv\n"
            f"driftloop data put {kind}-{seed}.csv --to {self.name} --cluster"
        )

    def rows(self, kind):
        """Unlabelled traffic: [(values, index of the species)]."""
        file = self.home / f"{kind}.jsonl"
        if not file.exists():
            # another seed than the batches'
            self.types(f"uv run -q {self.name}/rows.py {kind} 9 2000 {file}")
        return [
            ([row[name] for name in self.names], SPECIES.index(row["species"]))
            for row in map(json.loads, file.read_text().splitlines())
        ]
