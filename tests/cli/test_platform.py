"""`driftloop platform`: the platform's files in a repository, written, compared and merged."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cluster.authority import pair
from support.commands import type_command

from driftloop import __version__

ROOT = Path(__file__).parents[2]
VALIDATOR = Path(
    os.environ.get("VALIDATE_MANIFESTS", ROOT.parent / "shared" / "bin" / "validate-manifests")
)
NATS = "cluster/infrastructure/controllers/nats.yaml"
STAGES = "cluster/dev/infrastructure.yaml"
UPSTREAM = "cluster/upstream.json"


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", "-C", folder, *name, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "change")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    git(folder, "init", "-q")
    type_command("platform", "init", folder=folder)
    commit(folder)
    return folder


@pytest.fixture
def repository(written: Path, tmp_path: Path) -> Path:
    """A repository with the platform, committed."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path


def written_by_older(folder: Path, path: str, new: str, old: str) -> None:
    """Let the repository be as if a version before had written `old` where this one writes `new`."""
    file, record = folder / path, json.loads((folder / UPSTREAM).read_text())
    text = "".join(record["files"][path]) if path in record["files"] else ""
    assert new in text
    record["files"][path] = text.replace(new, old, 1).splitlines(keepends=True)
    record["version"] = "0.0.9"
    (folder / UPSTREAM).write_text(json.dumps(record))
    file.write_text(file.read_text().replace(new, old, 1))
    commit(folder)


def edit(folder: Path, path: str, old: str, new: str) -> None:
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new, 1))


def test_what_is_written_is_the_tree_of_this_repository_and_valid(repository: Path) -> None:
    for path in git(ROOT, "ls-files", "cluster/infrastructure", "cluster/optional").split():
        assert (repository / path).read_bytes() == (ROOT / path).read_bytes()
    assert not (repository / "cluster/dev/pipelines").exists()
    assert "0 errors" in type_command("validate", ".", folder=repository).stderr
    if VALIDATOR.exists():
        subprocess.run([VALIDATOR, repository], check=True, capture_output=True)


@pytest.mark.parametrize("name", ["base", "infrastructure", "platform", "Prod"])
def test_a_folder_that_is_no_cluster_s_is_refused(tmp_path: Path, name: str) -> None:
    said = type_command("platform", "init", "--cluster", name, folder=tmp_path, code=1).stderr
    assert f"--cluster is `{name}`, must be lower-case letters, digits and hyphens" in said
    assert "none of: base, infrastructure, optional, platform" in said


def test_a_second_cluster_shares_the_infrastructure_and_has_a_profile_of_its_own(
    repository: Path,
) -> None:
    words = ("platform", "init", "--cluster", "prod", "--profile", "standard")
    assert "wrote 4 files" in type_command(*words, folder=repository).stderr
    paths = [
        stage["spec"]["path"]
        for stage in yaml.safe_load_all(
            (repository / "cluster/prod/infrastructure.yaml").read_text()
        )
    ]
    assert paths == [
        "./cluster/infrastructure/base",
        "./cluster/infrastructure/profiles/standard/controllers",
        "./cluster/infrastructure/profiles/standard/configs",
    ]
    again = type_command(*words, folder=repository, code=1).stderr
    assert "cluster/prod is there already, written by driftloop" in again
    commit(repository)
    said = type_command("platform", "diff", folder=repository)
    assert said.stdout == ""
    assert "nothing to change; 0 files with changes of yours" in said.stderr


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
def test_images_come_from_the_registry_that_is_named(repository: Path) -> None:
    registry = "registry.acme.example:5443/loop"
    refused = type_command(
        "platform", "init", "--cluster", "prod", "--registry", registry, folder=repository, code=1
    )
    assert f"hint: `driftloop platform upgrade --registry {registry}`" in refused.stderr
    said = type_command("platform", "upgrade", "--registry", registry, folder=repository)
    assert said.stdout == (
        "changed  cluster/infrastructure/console/kustomization.yaml\n"
        "changed  cluster/infrastructure/controllers/seldon.yaml\nadded    platform.yaml\n"
    )
    infrastructure = repository / "cluster/infrastructure"
    console, controllers = (
        subprocess.run(
            ["kubectl", "kustomize", infrastructure / part],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for part in ("console", "profiles/lite/controllers")
    )
    assert f"image: {registry}/driftloop:{__version__}\n" in console
    said = f"registry: {registry} repository: executor tag: {__version__}"
    assert said in " ".join(controllers.split())
    commit(repository)
    assert type_command("platform", "diff", folder=repository).stdout == ""


def test_a_registry_is_that_of_pipelines_and_each_cluster_has_a_platform_file(
    tmp_path: Path,
) -> None:
    registry = "registry.acme.example:5443/loop"
    git(tmp_path, "init", "-q")
    words = ("platform", "init", "--registry", registry)
    said = type_command(*words, folder=tmp_path)
    assert "wrote platform.yaml, yours to edit" in said.stderr
    said = type_command("platform", "init", "--cluster", "prod", folder=tmp_path)
    assert "wrote driftloop/prod/platform.yaml, yours to edit" in said.stderr
    spec = str(ROOT / "examples" / "digits" / "plain.yaml")
    for cluster, root in (("dev", ""), ("prod", "driftloop/prod/")):
        type_command("render", spec, "--into", ".", "--cluster", cluster, folder=tmp_path)
        text = (tmp_path / f"{root}workflows/digits/train.workflowtemplate.yaml").read_text()
        assert f"image: {registry}/driftloop:{__version__}" in text
        flux = tmp_path / f"cluster/{cluster}/pipelines/digits.yaml"
        assert f"path: ./{root}workflows/digits\n" in flux.read_text()
    assert "0 errors" in type_command("validate", ".", folder=tmp_path).stderr
    commit(tmp_path)
    kept = git(tmp_path, "ls-files", "-c", "-i", "--exclude-from=.sourceignore")
    assert {path.split("/")[0] for path in kept.split()} == {"platform.yaml", ".sourceignore"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  images:\n    # ours\n    registry: a.example/x # old\n", "    registry: b.example/y # old\n"),
        ("  images: {pullSecrets: [acme]} # who\n", "  images: {registry: b.example/y, pullSecrets: [acme]} # who\n"),
        ("  images:\n    pullSecrets: [acme]\n", "  images:\n    registry: b.example/y\n    pullSecrets: [acme]\n"),
        ("  images: {}\n", "  images: {registry: b.example/y}\n"),
        ("  branch: main", "  branch: main\n  images:\n    registry: b.example/y\n"),
    ],
)  # fmt: skip
def test_another_registry_is_that_of_pipelines_too(
    repository: Path, before: str, after: str
) -> None:
    head = "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {name: dev}\n"
    (repository / "platform.yaml").write_text(
        f"{head}spec: # the cluster\n  path: cluster/dev\n{before}"
    )
    words = ("platform", "upgrade", "--registry", "b.example/y")
    refused = type_command(*words, folder=repository, code=1).stderr
    assert "platform.yaml would change, and has changes that are not committed" in refused
    commit(repository)
    assert "changed  platform.yaml\n" in type_command(*words, folder=repository).stdout
    text = (repository / "platform.yaml").read_text()
    assert text.startswith(f"{head}spec: # the cluster\n  path: cluster/dev\n")
    assert after in text
    commit(repository)
    assert type_command("platform", "diff", folder=repository).stdout == ""


def test_clusters_that_share_trees_get_no_registry_that_pipelines_would_not_know(
    repository: Path,
) -> None:
    type_command("platform", "init", "--cluster", "prod", folder=repository)
    commit(repository)
    words = ("platform", "upgrade", "--registry", "b.example/y")
    said = type_command(*words, folder=repository, code=1).stderr
    assert "`dev`, `prod` of 2 clusters: no platform file" in said
    assert "such as driftloop/dev/platform.yaml" in said
    assert git(repository, "status", "--short") == ""


def test_a_platform_file_of_another_cluster_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text("apps: []\n")
    words = ("platform", "init", "--registry", "ghcr.io/acme")
    said = type_command(*words, folder=tmp_path, code=1).stderr
    assert "platform.yaml must not be overwritten: it is another cluster's, or no platform" in said
    assert not (tmp_path / "cluster").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cluster", "infrastructure"), "--cluster is `infrastructure`, must be"),
        (("--cluster", "../prod"), "--cluster is `../prod`, must be"),
        (
            ("--registry", "https://acme.example"),
            "--registry is `https://acme.example`, must be a host",
        ),
    ],
)
def test_a_name_that_can_not_be_one_is_refused(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in type_command("platform", "init", *words, folder=tmp_path, code=1).stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_within_a_repository_is_refused(repository: Path) -> None:
    (repository / "inside").mkdir()
    said = type_command("platform", "init", "inside", folder=repository, code=1).stderr
    assert "must be its root: Flux' paths begin there" in said


def test_a_file_that_is_there_is_never_overwritten_but_may_be_adopted(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster")
    edit(tmp_path, NATS, "maxSize: 10Gi", "maxSize: 50Gi")
    said = type_command("platform", "init", folder=tmp_path, code=1).stderr
    assert f"{NATS} must not be overwritten: there already" in said
    assert not (tmp_path / UPSTREAM).exists()
    said = type_command("platform", "init", "--adopt", folder=tmp_path).stderr
    assert f"kept as it is, as your change: {NATS}" in said
    said = type_command("platform", "diff", folder=tmp_path).stderr
    assert "nothing to change; 1 file with changes of yours" in said
    assert "50Gi" in (tmp_path / NATS).read_text()


def test_an_upgrade_keeps_what_people_changed_in_the_same_file(repository: Path) -> None:
    written_by_older(repository, NATS, "version: see-versions", "version: 1.2.3")
    edit(repository, NATS, "maxSize: 10Gi", "maxSize: 50Gi")
    (repository / "cluster/dev/mine.yaml").write_text("# mine\n")
    commit(repository)
    diff = type_command("platform", "diff", folder=repository)
    assert "-      version: 1.2.3\n" in diff.stdout
    assert "50Gi" not in "".join(line for line in diff.stdout.splitlines() if line[:1] in "+-")
    assert "driftloop 0.0.9 -> " in diff.stderr
    dry = type_command("platform", "upgrade", "--dry-run", folder=repository)
    assert dry.stdout == f"changed  {NATS}\n"
    assert git(repository, "status", "--porcelain") == ""
    type_command("platform", "upgrade", folder=repository)
    text = (repository / NATS).read_text()
    assert "version: see-versions" in text
    assert "50Gi" in text
    changed = git(repository, "status", "--porcelain").split("\n")
    assert changed == [f" M {NATS}", f" M {UPSTREAM}", ""]
    commit(repository)
    said = type_command("platform", "upgrade", folder=repository).stderr
    assert "nothing to change; 1 file with changes of yours" in said


def test_files_come_and_go_and_one_that_a_person_removed_stays_away(repository: Path) -> None:
    record = json.loads((repository / UPSTREAM).read_text())
    new = "cluster/infrastructure/base/istio.yaml"
    del record["files"][new]
    record["files"]["cluster/infrastructure/old.yaml"] = ["# old\n"]
    (repository / UPSTREAM).write_text(json.dumps(record))
    (repository / new).unlink()
    (repository / "cluster/infrastructure/old.yaml").write_text("# old\n")
    (repository / "cluster/optional/console.yaml").unlink()
    commit(repository)
    said = type_command("platform", "upgrade", folder=repository)
    assert said.stdout == f"added    {new}\nremoved  cluster/infrastructure/old.yaml\n"
    assert not (repository / "cluster/optional/console.yaml").exists()
    assert not (repository / "cluster/infrastructure/old.yaml").exists()


def test_what_flux_bootstrap_fills_is_left_alone(repository: Path) -> None:
    sync = repository / "cluster/dev/flux-system/gotk-sync.yaml"
    sync.write_text("kind: GitRepository\n")
    commit(repository)
    said = type_command("platform", "upgrade", folder=repository).stderr
    assert "nothing to change; 0 files with changes of yours" in said
    assert sync.read_text() == "kind: GitRepository\n"


def make_conflict(repository: Path) -> int:
    """Let a person and the new version change the same line; its number."""
    written_by_older(repository, NATS, "maxSize: 10Gi", "maxSize: 8Gi")
    # a line above, which moves the place
    edit(repository, NATS, "apiVersion", "# ours\napiVersion")
    edit(repository, NATS, "maxSize: 8Gi", "maxSize: 70Gi")
    commit(repository)
    lines = (repository / NATS).read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if "maxSize: 70Gi" in line)


def test_a_conflict_is_told_by_file_and_line_and_nothing_is_written(repository: Path) -> None:
    line = make_conflict(repository)
    place = f"conflict {NATS}:{line}: you and driftloop {__version__} changed the same lines"
    for words, code in ((("diff",), 0), (("upgrade",), 1), (("upgrade", "--dry-run"), 1)):
        said = type_command("platform", *words, folder=repository, code=code).stderr
        assert place in said
    assert "1 conflict, nothing was written" in said
    assert git(repository, "status", "--porcelain") == ""
    told = type_command("platform", "upgrade", "-o", "json", folder=repository, code=1).stdout
    document = json.loads(told)
    assert document["conflicts"][0]["line"] == line
    assert document["written"] is False


@pytest.mark.parametrize(("side", "kept"), [("mine", "maxSize: 70Gi"), ("theirs", "maxSize: 10Gi")])
def test_a_conflict_is_resolved_for_one_side_when_asked(
    repository: Path, side: str, kept: str
) -> None:
    line = make_conflict(repository)
    said = type_command("platform", "upgrade", "--conflicts", side, folder=repository).stderr
    assert f"{NATS}:{line}" in said
    text = (repository / NATS).read_text()
    assert kept in text
    assert "# ours\n" in text


def test_markers_hold_both_sides_and_must_be_solved_before_the_next(repository: Path) -> None:
    make_conflict(repository)
    words = ("platform", "upgrade", "--conflicts", "markers")
    said = type_command(*words, folder=repository, code=1).stderr
    text = (repository / NATS).read_text()
    start = text[: text.index("<<<<<<< yours\n")].count("\n") + 1
    assert f"{NATS}:{start}" in said
    for part in (
        "maxSize: 70Gi",
        "||||||| driftloop 0.0.9\n",
        f">>>>>>> driftloop {__version__}\n",
    ):
        assert part in text
    commit(repository)
    written_by_older(repository, NATS, "see-versions", "2.0.0")
    said = type_command("platform", "upgrade", folder=repository, code=1).stderr
    assert "is the marker of a conflict that is not solved yet" in said


def test_a_removed_file_that_the_new_version_changes_is_a_conflict(repository: Path) -> None:
    written_by_older(repository, NATS, "maxSize: 10Gi", "maxSize: 8Gi")
    (repository / NATS).unlink()
    commit(repository)
    said = type_command("platform", "upgrade", folder=repository, code=1).stderr
    assert f"conflict {NATS}: you removed it, and driftloop {__version__} changes it" in said
    type_command("platform", "upgrade", "--conflicts", "mine", folder=repository)
    assert not (repository / NATS).exists()


def test_what_is_not_committed_is_not_touched(repository: Path) -> None:
    written_by_older(repository, NATS, "maxSize: 10Gi", "maxSize: 8Gi")
    edit(repository, NATS, "apiVersion", "# ours\napiVersion")
    said = type_command("platform", "upgrade", folder=repository, code=1).stderr
    assert f"{NATS} would change, and has changes that are not committed" in said
    shutil.rmtree(repository / ".git")
    said = type_command("platform", "upgrade", folder=repository, code=1).stderr
    assert "is not in a git repository" in said


def test_without_a_record_nothing_is_merged(tmp_path: Path) -> None:
    said = type_command("platform", "diff", folder=tmp_path, code=1).stderr
    assert f"{UPSTREAM} does not exist" in said
    (tmp_path / "cluster").mkdir()
    (tmp_path / UPSTREAM).write_text('{"version": "1", "clusters": {}, "files": {"../x": []}}')
    said = type_command("platform", "diff", folder=tmp_path, code=1).stderr
    assert "must be lists of lines by path" in said


def test_a_cluster_may_have_the_folder_that_flux_reads_already(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for cluster in ("staging", "prod"):
        place = tmp_path / "clusters" / cluster / "flux-system"
        place.mkdir(parents=True)
        (place / "gotk-sync.yaml").write_text("# by flux bootstrap\n")
    commit(tmp_path)
    done = type_command("platform", "init", folder=tmp_path, code=1)
    assert "Flux reads other folders of . than those below `cluster/`: clusters/prod" in done.stderr
    words = ("platform", "init", "--registry", "registry.acme.example/loop", "--cluster")
    for cluster in ("staging", "prod"):
        path = f"clusters/{cluster}"
        done = type_command(*words, cluster, "--path", f"{path}/", folder=tmp_path)
        assert f"--path=clusters/{cluster}" in done.stderr
        assert "kept as it is" not in done.stderr
        sync = tmp_path / path / "flux-system" / "gotk-sync.yaml"
        assert sync.read_text() == "# by flux bootstrap\n"
        stages = (tmp_path / path / "infrastructure.yaml").read_text()
        assert "./cluster/infrastructure/base" in stages
        file = yaml.safe_load((tmp_path / f"driftloop/{cluster}/platform.yaml").read_text())
        assert file["spec"]["path"] == path
        assert file["spec"]["images"] == {"registry": "registry.acme.example/loop"}
    assert not (tmp_path / ".sourceignore").exists()
    commit(tmp_path)
    assert "0 errors" in type_command("validate", ".", folder=tmp_path).stderr
    assert "nothing to change" in type_command("platform", "upgrade", folder=tmp_path).stderr


def test_settings_come_before_the_stages_that_wait_for_them(tmp_path: Path) -> None:
    words = ("platform", "init", "--cluster", "staging", "--path", "clusters/staging")
    type_command(*words, folder=tmp_path)
    certificate, _ = pair()
    (tmp_path / "cluster.pem").write_bytes(certificate)
    words = ("secrets", "init", "-n", "digits", "--cert", "cluster.pem", "--cluster", "staging")
    type_command(*words, "--git-url", "https://git.acme.example/c.git", folder=tmp_path)
    settings = yaml.safe_load((tmp_path / "clusters/staging/platform.yaml").read_text())
    assert [each["name"] for each in settings["spec"]["dependsOn"]] == ["infra-base"]


@pytest.mark.parametrize("path", ["cluster/x", "/clusters", "../clusters", "clusters//x", "."])
def test_a_folder_that_flux_can_not_read_is_refused(path: str, tmp_path: Path) -> None:
    done = type_command("platform", "init", "--path", path, folder=tmp_path, code=1)
    assert f"--path is `{path}`, must be a folder of the repository" in done.stderr
