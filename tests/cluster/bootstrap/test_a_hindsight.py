"""What the loop remembers of itself: why it trained, what was asked and answered, and which answers were right."""

import csv
import io
import json
import re
from collections import Counter, defaultdict
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq
from cluster.bootstrap.test_b_people import run_command
from cluster.proof.test_d_rollout import steps
from cluster.world import PIPELINE, N, P

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.events import INFERENCE_REQUEST

BUCKET = f"driftloop-{N}"
LABELLED = 120


def test_the_commit_says_what_moved(it):
    second = it.release()["production"]["id"]
    it.remember(second=second)
    _, moved = read_explanation(it, second)
    assert moved


def test_every_answer_is_recorded_once(it):
    second = it.known("second")
    it.traffic.turn("rotated")
    answers = it.answered(60)
    it.traffic.pause()
    it.kube.wait("an answer to a broken request", lambda: ask_broken(it), timeout=60)
    ids = {answer.id for answer in answers if answer.status == 200}
    rows = it.kube.wait(
        "the recorder has written all of them",
        lambda: (
            (found := recorded(it))
            and ids <= {row["request_id"] for row in found}
            and any(row["request_id"] == "broken-1" for row in found)
            and found
        ),
        timeout=180,
        every=5,
    )
    every = {answer.id: answer for answer in it.traffic.answers if answer.logged}
    times = Counter((row["request_id"], row["release"], row["row"]) for row in rows)
    assert set(times.values()) == {1}, [key for key, count in times.items() if count > 1]
    served = defaultdict(list)
    for row in rows:
        served[row["request_id"]].append(row["role"])
    answered = [id for id, answer in every.items() if answer.status == 200]
    missing = [id for id in answered if id not in served]
    # a role is what git says when the event comes: while a commit is applied some are of the stage beside it
    odd = [id for id in answered if sum(role != "shadow" for role in served[id]) != 1]
    roles = Counter(row["role"] for row in rows)
    it.say(
        f"{len(rows)} rows in S3, {dict(roles)}; of {len(answered)} answers {len(missing)} are missing, "
        f"{len(odd)} have the role of the stage beside theirs"
    )
    assert not missing
    assert len(odd) <= 0.01 * len(answered)
    broken = [row for row in rows if row["request_id"] == "broken-1"]
    it.say(f"the broken request: {[(row['status'], row['problem']) for row in broken]}")
    assert {row["release"] for row in broken} == {second}
    one = {role: next(row for row in rows if row["role"] == role) for role in roles}
    it.remember(
        asked={role: [row["request_id"], row["release"]] for role, row in one.items()}
        | {"broken": ["broken-1", second]}
    )
    assert {"production", "shadow"} <= set(roles)
    assert "Knative has dropped no event" in it.driftloop("doctor", "--all")


def test_events_that_a_subscriber_refuses_are_counted(it):
    decision = {"kind": "Service", "apiVersion": "v1", "name": f"{P}-decision", "namespace": N}
    trigger = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "refused", "namespace": N},
        "spec": {
            "broker": "default",
            "filter": {"attributes": {"type": INFERENCE_REQUEST}},
            "subscriber": {"ref": decision, "uri": "/none"},
        },
    }
    it.kube.run("apply", "-f", "-", stdin=json.dumps(trigger))
    it.kube.wait("the Trigger is ready", lambda: it.kube.ready("trigger", "refused", N))
    it.traffic.turn("rotated")
    answers = it.answered(20)
    it.traffic.pause()
    it.kube.run("-n", N, "delete", "trigger", "refused")
    found = re.search(
        rf"Knative has dropped (\d+) events of Trigger {N}/refused: its subscriber answered 404",
        run_command(it, "doctor").stdout,
    )
    assert found is not None
    it.say(f"{found[0]}; of {len(answers)} requests")
    assert int(found[1]) >= 20


def test_every_request_leads_to_all_that_it_comes_of(it):
    for role, (id, release) in it.known("asked").items():
        check_trace(it, role, id, release)


def test_the_reference_data_of_detectors_are_stored_once(it):
    store = ObjectStore.from_environment(it.s3())
    keys = [
        item.key for item in store.list_folder(StoreLocation(BUCKET, f"pipelines/{P}/references"))
    ]
    it.say(f"references: {keys}")
    assert keys


def test_labels_come_by_the_door_and_say_how_good_the_answers_are(it):
    second = it.known("second")
    it.retraining("halt", "--reason", "labels are looked at")
    answers = ask_more(it, "rotated", LABELLED)
    load(it, {answer.id: label_of(it, answer) for answer in answers})
    verdict = it.kube.wait(
        "a window of labels is judged",
        lambda: next(iter(it.streams.verdicts("quality", second)), None),
        timeout=240,
        every=3,
    )
    right = sum(answer.right for answer in answers)
    quality = verdict["details"]["quality"]
    it.say(f"{right} of {len(answers)} answers were right; window 1 says {quality}")
    assert not verdict["alarm"]
    it.retraining("resume")
    store = ObjectStore.from_environment(it.s3())
    folder = parse_location("s3://digits/batches/labelled")
    files = it.kube.wait(
        "a batch of labelled requests", lambda: store.list_folder(folder), timeout=240, every=5
    )
    tables = [read_table(store, StoreLocation(folder.bucket, item.key)) for item in files]
    rows = sum(table.num_rows for table in tables)
    labels = Counter(value for table in tables for value in table["y"].to_pylist())
    it.say(f"{len(files)} batches with {rows} rows, labels {dict(labels)}")
    assert rows == len(answers)
    it.forget(P)


def test_worse_answers_go_back_to_the_release_before(it):
    first, second = it.known("first"), it.known("second")
    assert it.release()["previous"]["id"] == first
    tip, before = it.tip(), set(it.workflows())
    answers = ask_more(it, "rotated", 2 * LABELLED)
    load(it, {answer.id: (label_of(it, answer) + 1) % 10 for answer in answers})
    it.kube.wait(
        "a rollback is committed",
        lambda: it.release()["production"]["id"] == first,
        timeout=400,
        every=1,
    )
    message = it.git("log", "--format=%B", f"{tip}..main")
    it.say(f"the loop's own commit: {' | '.join(filter(None, message.splitlines()))}")
    assert "quality" in message
    runs = [name for name in it.workflows() if name not in before and "rollback" in name]
    assert len(runs) == 1, runs
    assert it.ended(runs[0], timeout=180)["phase"] == "Succeeded"
    it.kube.wait(
        "the old model is served", lambda: it.routed() == {first: 100}, timeout=180, every=0.5
    )
    it.ready(PIPELINE, timeout=300)
    state = it.streams.decision()
    it.say(f"the loop is {state.phase}: {state.waits.reason if state.waits else ''}")
    assert state.phase == "halted"
    it.answers(timeout=120)
    (answer,) = ask_more(it, "clean", 1)[:1]
    it.kube.wait(
        "it is recorded",
        lambda: answer.id in {row["request_id"] for row in recorded(it)},
        timeout=120,
        every=5,
    )
    it.remember(asked=it.known("asked") | {"after a rollback": [answer.id, first]})
    check_trace(it, "after a rollback", answer.id, first)
    it.say(f"{len(steps(it, second))} commits of {second}; {it.troubles()}")
    # nobody is to train on labels that were made up
    it.forget(P)


def test_pruning_by_its_schedule_runs_through(it):
    cron = it.kube.get("cronworkflow", f"{P}-prune", N)
    name = f"{P}-prune-by-hand"
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {**cron["spec"].get("workflowMetadata", {}), "name": name, "namespace": N},
        "spec": cron["spec"]["workflowSpec"],
    }
    it.kube.run("create", "-f", "-", stdin=json.dumps(workflow))
    status = it.ended(name, timeout=300)
    assert status["phase"] == "Succeeded", status.get("message")
    store = ObjectStore.from_environment(it.s3())
    said = json.loads(store.read_object(StoreLocation(BUCKET, f"pipelines/{P}/pruned.json")))
    it.say(f"pruned: {said}")


def read_explanation(it, release):
    """The cause that the commits of a release name, and what moved by their words."""
    said = it.git("log", "--format=%B", f"--grep=Driftloop-Release: {release}", "main")
    (cause,) = set(re.findall(r"Driftloop-Cause: (.*)", said))
    moved = re.findall(r"x\[\d+\][^\n]*? -?[\d.e]+ -> -?[\d.e]+", said)
    it.say(f"the commits of {release}: {cause}; {moved[:3]}")
    return cause, moved


def ask_more(it, kind, number):
    """So many answered requests."""
    it.traffic.turn(kind)
    start = len(it.traffic.answers)
    it.answered(number, timeout=300)
    it.traffic.pause()
    answers = it.traffic.answers[start:]
    assert {answer.status for answer in answers} == {200}
    return answers


def label_of(it, answer):
    """The right answer to what was asked."""
    rows = it.rows(answer.kind)
    return int(rows[int(answer.id.rpartition("-")[2]) % len(rows)][1])


def load(it, labels):
    """A person loads labels by the door of the decision service."""
    file = it.folder / "labels.csv"
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["request", "label"])
    writer.writerows(labels.items())
    file.write_text(text.getvalue())
    url = f"http://{it.kube.address(N, f'{P}-decision', 8080)}"
    token = it.secret("webhook-token")
    said = it.driftloop(
        "labels", "load", file, "--to", P, "--url", url, DRIFTLOOP_WEBHOOK_TOKEN=token
    )
    it.say(f"labels of {len(labels)} requests are loaded {said.strip()}")


def ask_broken(it):
    """The status of a request that no model can answer."""
    address = it.kube.address("istio-system", "istio-ingressgateway", 80)
    body = json.dumps({"data": {"ndarray": [["no", "digits"]]}}).encode()
    headers = {"Content-Type": "application/json", "Seldon-Puid": "broken-1"}
    url = f"http://{address}/seldon/{N}/{P}/api/v1.0/predictions"
    try:
        with urlopen(Request(url, body, headers), timeout=10) as answer:
            return answer.status
    except HTTPError as error:
        it.say(f"a broken request got {error.code}")
        return error.code


def recorded(it):
    """All rows of captured traffic: what the file says, and the release that its folder names."""
    store = ObjectStore.from_environment(it.s3())
    rows = []
    for item in store.list_folder(StoreLocation(BUCKET, f"traffic/{P}")):
        if not item.key.endswith(".parquet"):
            continue
        table = read_table(store, StoreLocation(BUCKET, item.key))
        release = re.search(r"/release=([^/]+)/", item.key)[1]
        wanted = ["request_id", "row", "role", "status", "problem"]
        rows += [{**row, "release": release} for row in table.select(wanted).to_pylist()]
    return rows


def read_table(store, at):
    return pq.read_table(pa.BufferReader(store.read_object(at)))


def check_trace(it, role, id, release):
    """Trace a request as a person does, to all that it comes of; the notes of the trace."""
    found = trace_request(it, id)
    links = found["links"]
    it.say(f"{role} request {id}: {', '.join(dict.fromkeys(link['kind'] for link in links))}")
    kinds = {link["kind"] for link in links}
    assert {"request", "release", "model", "run", "parameters", "data", "commit"} <= kinds
    assert release in {link["id"] for link in links if link["kind"] == "release"}
    assert role == "broken" or "answer" in kinds
    return found["notes"]


def trace_request(it, id):
    """A request's trace, by its id alone."""
    said = it.driftloop(
        "trace", id, "--as", "request", "--cluster", "-n", N, "--repository", it.url, "-o", "json"
    )
    return json.loads(said)
