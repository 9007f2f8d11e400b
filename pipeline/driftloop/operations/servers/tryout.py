"""Call a project's own functions once, on real data and in their environments: without git, tag or
release."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never, get_args

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import RehearsalLimits
from driftloop.contract.names import WORK_IN, WORK_OUT
from driftloop.contract.records import Evaluation, HeldOutRows
from driftloop.contract.trees import METRICS_FILE, PRODUCTION_FILE, ROWS_FILE
from driftloop.errors import LocalError, StepError
from driftloop.local.ground.mounts import replace_mounts
from driftloop.local.ground.own_values import NO_VALUES, OwnValues
from driftloop.local.kubelet.images import LocalImage, prepare_image
from driftloop.local.kubelet.values import start_own
from driftloop.operations.servers.beside import start_server
from driftloop.operations.servers.rehearsal import run_rehearsal
from driftloop.plan import Plan
from driftloop.plan.plan import DataStepPlan
from driftloop.release.rehearsal import judge_rehearsal
from driftloop.resources.serving.rehearsal import rehearsed_servers
from driftloop.resources.workflows.calls import name_function, name_program
from driftloop.spec.environment import NO_VARIABLES, Environment
from driftloop.spec.model import Spec
from driftloop.text.words import count_noun

if TYPE_CHECKING:
    from driftloop.clients.s3 import ObjectStore

TryStage = Literal["data", "train", "evaluate", "serve"]
STAGES: tuple[TryStage, ...] = get_args(TryStage)
WRAPPER = "driftloop-train"
"""The program around the user's functions, and of data steps that need none."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of batches that are tried at most."""
ROWS = 100
"""Held-out rows that the server is asked."""

Report = Callable[[str], None]

_OWN = {"PYTHONDONTWRITEBYTECODE": "1"}
"""The code is the user's own folder: nothing is written there."""


def fetch_batches(
    store: "ObjectStore", uri: str, folder: Path, report: Report, *, may_be_empty: bool = False
) -> None:
    """Fetch the last batches of the data's folder, `MOST_BYTES` of them; StepError when there is
    none and it may not be empty."""
    from driftloop.clients import s3

    source = s3.parse_location(uri)
    try:
        objects = store.list_folder(source)
    except s3.MissingObjectError as error:
        if may_be_empty:
            return
        raise StepError(f"{source} does not exist", hint="put labelled batches there") from error
    if not objects and may_be_empty:
        return
    if not objects:
        raise StepError(
            f"no batches below {source}", hint="put labelled batches there, or use --data"
        )
    chosen: list[s3.StoreObject] = []
    total = 0
    for entry in reversed(objects):
        if chosen and total + entry.size > MOST_BYTES:
            break
        chosen.append(entry)
        total += entry.size
    for entry in chosen:
        at = s3.StoreLocation(source.bucket, entry.key)
        store.get_file(at, folder / source.relative_key(entry.key))
    report(f"data: {len(chosen)} of {len(objects)} batches of {source}, {total} bytes")


UNPATCHED = "`patches` of the spec change objects that a commit is of, and nothing here"


@dataclass
class ProjectTry:
    """One try of a project; everything that it writes is below `work`."""

    spec: Spec
    plan: Plan
    folder: Path
    """Folder of the spec."""
    work: Path
    envs: Path
    report: Report
    values: OwnValues = NO_VALUES
    """Values of Secrets and ConfigMaps that the spec names."""
    _images: dict[str, LocalImage] = field(default_factory=dict)

    @property
    def prepared(self) -> Path:
        """Folder of the data as the last data step writes them."""
        steps = self.plan.steps
        return self.work / "steps" / steps[-1].name if steps else self.work / "data"

    def run_stages(self, last: TryStage) -> None:
        """Run the stages up to `last`; StepError for the first that fails."""
        if self.plan.patches:
            self.report(f"note: {UNPATCHED}")
        for stage in STAGES[: STAGES.index(last) + 1]:
            began = time.monotonic()
            words = self._run_stage(stage)
            self.report(f"{stage}: {words} ({time.monotonic() - began:.1f} s)")

    def _run_stage(self, stage: TryStage) -> str:
        match stage:
            case "data":
                return self._prepare_data()
            case "train":
                return self._train()
            case "evaluate":
                return self._evaluate()
            case "serve":
                return self._serve()
            case _:
                assert_never(stage)

    def _prepare_data(self) -> str:
        data = self.work / "data"
        (data / "earlier").mkdir(parents=True, exist_ok=True)
        names = dict(
            zip([step.name for step in self.plan.steps], self.spec.data.steps, strict=True)
        )
        for step in self.plan.steps:
            out = self.work / "steps" / step.name
            self._run_data_step(step, names[step.name].image, data, out)
            data = out
        heldout = str(self.plan.heldout)
        words = (
            "split",
            "--data",
            str(self.prepared),
            "--out",
            str(self.work / "split"),
            "--heldout",
            heldout,
            *(self.plan.column_options if self.plan.request_monitors else ()),
            *(("--mixed",) if self.plan.request_monitors and self.plan.takes_mixed else ()),
        )
        self._call("data", self.spec.train.image, words)
        return f"{count_noun(len(self.plan.steps), 'data step')}, and rows held out"

    def _run_data_step(self, step: DataStepPlan, image: str, data: Path, out: Path) -> None:
        if step.command[:1] == (WRAPPER,):
            folders = {f"{WORK_IN}/data": data, f"{WORK_OUT}/data": out}
            words = tuple(replace_mounts(word, folders) for word in step.command[1:])
            self._call(f"data step {step.name}", image, words, step.environment)
            return
        if step.run is None:
            raise StepError(
                f"data step `{step.name}` is a command of its image, which only a run can start",
                hint="name what it makes with --data, and leave it out of the spec for this try",
            )
        words = (
            "call",
            step.run,
            "--data",
            str(data),
            "--out",
            str(out),
            "--timeout",
            str(step.seconds),
        )
        self._call(f"data step {step.name}", image, words, step.environment)

    def _train(self) -> str:
        trial = self.plan.trials[0]
        metrics = self.work / "parameters"
        words = (
            *("call", *name_function(self.plan.train)),
            *("--parameters", json.dumps(dict(trial.parameters))),
            *("--data", str(self.work / "split" / "train"), "--out", str(self.work / "model")),
            *("--metadata", str(self.work / "metadata.yaml"), "--metrics", str(metrics)),
            *("--trial", str(trial.number)),
            *(
                ("--checkpoint", str(self.work / "checkpoint"))
                if self.plan.train.checkpoint
                else ()
            ),
            *name_program(self.plan.train),
        )
        self._call("train", self.spec.train.image, words, self.spec.train.environment)
        returned = (metrics / "metrics").read_text()
        return f"trial 1 of {len(self.plan.trials)}, {json.dumps(dict(trial.parameters))}, returned {returned}"

    def _evaluate(self) -> str:
        production = self.work / "production"
        production.mkdir(exist_ok=True)
        (production / PRODUCTION_FILE).write_text("{}\n")
        words = (
            *("evaluate", *name_function(self.plan.evaluate), "--model", str(self.work / "model")),
            *("--production", str(production), "--data", str(self.work / "split" / "heldout")),
            *("--out", str(self.work / "evaluation"), "--rows", str(ROWS)),
            *("--target", self.plan.target),
            *self.plan.use_options,
            *name_program(self.plan.evaluate),
        )
        evaluate = self.spec.evaluate
        self._call("evaluate", evaluate.image or self.spec.train.image, words, evaluate.environment)
        evaluation = json.loads((self.work / "evaluation" / METRICS_FILE).read_text())
        return json.dumps(evaluation["candidate"]["all"])

    def _serve(self) -> str:
        name = self.spec.serve.image
        if not rehearsed_servers(self.plan) or name is None:
            return "not tried: a server of this kind can't be rehearsed here"
        image, beside = self._find_image(name), self.work / "server"
        beside.mkdir()
        limits = RehearsalLimits.parse(self.plan.rehearsal_limits)
        try:
            rows = HeldOutRows.read(json.loads((self.work / "evaluation" / ROWS_FILE).read_text()))
            evaluation = Evaluation.read(
                json.loads((self.work / "evaluation" / METRICS_FILE).read_text())
            )
        except (OSError, ValueError, DocumentError) as error:
            raise StepError(f"the evaluation left no rows to ask: {error}") from error
        with start_server(
            self.plan,
            image,
            self.work / "model",
            beside,
            own=self.values,
            environment=_OWN,
        ) as server:
            answered, _ = run_rehearsal(server, None, rows, limits.start)
        verdict = judge_rehearsal(rows, answered, None, evaluation, limits)
        if not verdict.passed:
            log = server.read_log()
            raise StepError(
                f"serve: {'; '.join(verdict.reasons)}"
                + (f"\nthe server's log ends:\n{log}" if log else "")
            )
        for note in verdict.notes:
            self.report(f"note: {note}")
        compared = "" if verdict.accuracy is None else f", {verdict.accuracy:.1%} of them right"
        return f"loaded in {answered.start:.1f} s, answered {len(answered.replies)} rows{compared}"

    def _find_image(self, name: str) -> LocalImage:
        """Return the environment and code of an image; LocalError when it has no folder."""
        if name not in self._images:
            image = self.spec.images[name]
            if image.context is None:
                raise LocalError(
                    f"images.{name} has no `context`: its code is not here",
                    hint="write the folder with its Dockerfile, requirements.txt and code",
                )
            self._images[name] = prepare_image(
                image.ref,
                self.folder / image.context,
                self.work / "images" / name,
                envs=self.envs,
                say=self.report,
            )
        return self._images[name]

    def _call(
        self,
        stage: str,
        name: str,
        words: tuple[str, ...],
        own: Environment = NO_VARIABLES,
    ) -> None:
        """Run the wrapper around the user's functions; it prints their lines of a traceback."""
        image = self._find_image(name)
        volumes = self.work / "volumes" / stage.replace(" ", "-")
        given = start_own(stage, own, self.values, volumes)
        words = tuple(replace_mounts(word, given.folders) for word in words)
        command = [image.find_program("driftloop-train"), *words]
        environment = {
            **image.build_environment(),
            **_OWN,
            **given.variables,
            "HOME": str(self.work),
        }
        done = subprocess.run(command, env=environment, cwd=image.app, stdout=2, check=False)
        if done.returncode != 0:
            raise StepError(f"{stage} failed", hint="the lines above name the place in your code")


def copy_batches(source: Path, folder: Path, report: Report) -> None:
    """Copy a local file, or the files of a folder, as the data; StepError when there is none, and
    for what is neither a file nor a folder."""
    if source.is_file():
        files, top = [source], source.parent
    else:
        files, top = sorted(path for path in source.rglob("*") if not path.is_dir()), source
    for file in files:
        if not file.is_file():
            raise StepError(
                f"{file} is not a plain file", hint="remove it, or put a file in its place"
            )
    if not files:
        raise StepError(f"no batches below {source}", hint="--data names a folder with files")
    for file in files:
        target = folder / file.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    report(f"data: {count_noun(len(files), 'file')} of {source}")
