"""Every valid spec renders a tree in which nothing is found, in every phase of its releases."""

import json
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.check import check_files
from driftloop.contract.names import is_own_part
from driftloop.operations.project.manifests import SchemaFolder
from driftloop.plan import images
from driftloop.release import record
from driftloop.render import render_tree
from tests.pipelines import version
from tests.spec.specs import DETECTORS

Parts = dict[str, object]

_FOLDER = Path(os.environ.get("API_SCHEMAS", Path(__file__).parents[3] / "shared" / "schemas"))
SCHEMAS = SchemaFolder(_FOLDER) if _FOLDER.is_dir() else None
"""Those of a real API server, where they are at hand: then the check is strict."""

_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,10}(-[a-z0-9]{1,8})?", fullmatch=True)
_MONITORS = st.just("drift") | st.from_regex(r"[a-z][a-z0-9]{0,17}", fullmatch=True).filter(
    lambda name: not is_own_part(name)
)
_BROUGHT: dict[str, Parts] = {
    "function": {"run": "watch:judge"},
    "alibi": {"alibi": {"class": "MMDDrift"}},
}
_DETECTORS = st.sampled_from(
    [_BROUGHT.get(detector, {"detector": detector}) for detector in DETECTORS]
)
"""How a monitor says which one it has."""
_WATCHED = st.fixed_dictionaries(
    {},
    optional={
        "dashboard": st.booleans(),
        "prometheus": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(
                    st.sampled_from(["release", "example.org/team"]),
                    st.sampled_from(["", "a", "1.0"]),
                ),
                "quiet": st.sampled_from([None, "5m", "90m", "7d"]),
            },
        ),
    },
)

_SERVERS: st.SearchStrategy[Parts] = st.sampled_from(
    [
        {"server": "python", "model": "Model"},
        {"server": "sklearn", "method": "predict"},
        *(
            {"server": server, "protocol": protocol}
            for server in ("xgboost", "mlflow")
            for protocol in ("seldon", "v2")
        ),
        *({"server": "tensorflow", "protocol": protocol} for protocol in ("seldon", "tensorflow")),
        {"server": "triton"},
    ]
)


@st.composite
def _graphs(draw: st.DrawFn) -> Parts:
    """A graph, from the released node upwards."""
    names = iter(draw(st.permutations(["scale", "vote", "choose", "rules", "label", "clip"])))

    def node(kind: str, *children: Parts) -> Parts:
        below = {"children": list(children)} if children else {}
        uri = {"uri": "s3://data/fixed"} if draw(st.booleans()) else {}
        return {
            "type": kind,
            "name": next(names),
            "image": "server",
            "class": "Own",
            **uri,
            **below,
        }

    found: Parts = {"type": "released"}
    for kind in draw(
        st.lists(
            st.sampled_from(["transformer", "output-transformer", "combiner", "router"]),
            min_size=1,
            max_size=3,
        )
    ):
        found = node(
            kind,
            *([found] if "transformer" in kind else draw(st.permutations([found, node("model")]))),
        )
    return found


@st.composite
def specs(draw: st.DrawFn) -> tuple[str, str]:
    """A spec as JSON, which is YAML, and its name."""
    name = draw(_NAMES)
    monitors: Parts = {
        monitor: {**draw(_DETECTORS), "window": draw(st.integers(20, 500))}
        for monitor in draw(st.lists(_MONITORS, max_size=4, unique=True))
    }
    train: Parts = {"run": "train:train", "parameters": {"epochs": 1, "learning_rate": 0.1}}
    if draw(st.booleans()):
        over = {
            "learning_rate": draw(
                st.lists(st.floats(0.001, 1), min_size=1, max_size=3, unique=True)
            )
        }
        train["search"] = {
            "over": over,
            "best": {"metric": "loss", "goal": "minimize"},
            "parallelism": 2,
        }
        if draw(st.booleans()):
            interval = {"low": 1, "high": 9, "whole": draw(st.booleans())}
            train["search"]["random"] = {
                "trials": draw(st.integers(1, 9)),
                "between": {"epochs": interval},
            }
    if draw(st.booleans()):
        train["schedule"] = draw(
            st.sampled_from(["0 3 * * 1", "*/5 * * * *", "0 0 29 2 *", "@monthly", "1 2 3 jan mon"])
        )
    if draw(st.booleans()):
        train["newData"] = "*/15 * * * *"
    train["checkpoint"] = draw(st.booleans())
    again = st.none() | st.fixed_dictionaries(
        {"limit": st.integers(1, 5)}, optional={"wait": st.just("5s")}
    )
    cache = st.none() | st.sampled_from(["1s", "1h", "30d"])
    gpu = st.sampled_from(
        [{}, {"gpu": 1}, {"gpu": 2, "gpuProfile": "big"}, {"gpu": 1, "gpuProfile": "default"}]
    )
    train |= {"retries": draw(again), "cache": draw(cache), "resources": draw(gpu)}
    data: Parts = {"uri": "s3://data/batches"}
    if draw(st.booleans()):
        names = draw(
            st.lists(_NAMES.filter(lambda one: len(one) < 12), min_size=1, max_size=3, unique=True)
        )
        data["steps"] = [
            {
                "name": step,
                "run": "etl:clean",
                "retries": draw(again),
                "cache": draw(cache),
                "resources": draw(gpu),
            }
            for step in names
        ]
    rollout: Parts = {"promote": draw(st.sampled_from(["auto", "manual"]))}
    if draw(st.booleans()):
        steps = draw(st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True))
        rollout["canary"] = {
            "steps": sorted(steps),
            "errorRate": draw(st.sampled_from([0, 0.01, 1])),
        }
        if draw(st.booleans()):
            rollout["canary"]["p99"] = draw(st.sampled_from(["1ms", "250ms", "9s"]))
    serve: Parts = {**draw(_SERVERS)}
    if serve["server"] == "python":
        serve["backend"] = draw(st.sampled_from(["seldon", "plain"]))
    elif draw(st.booleans()):
        serve["image"] = "server"
    if serve.get("backend") == "seldon" and draw(st.booleans()):
        serve["graph"] = draw(_graphs())
    if serve["server"] != "python" or "graph" in serve:
        # nothing rehearses these, and how good answers are is compared with the rehearsal's
        monitors = {
            name: each
            for name, each in monitors.items()
            if each.get("detector") not in ("quality", "estimate")
        }
    if draw(st.booleans()):
        serve["replicas"] = draw(st.integers(1, 3))
    elif draw(st.booleans()):
        least = draw(st.integers(1, 3))
        serve["autoscale"] = {
            "min": least,
            "max": least + draw(st.integers(0, 3)),
            "cpu": draw(st.integers(1, 200)),
        }
    backend = serve.get("backend", "seldon")
    more: Parts = {}
    if draw(st.booleans()):
        platform = draw(st.sets(st.sampled_from(["knative-eventing", "monitoring"])))
        more["mesh"] = {"mode": "ambient", "enrolled": sorted(platform)}
    if draw(st.booleans()):
        named = ["ghcr.io/acme/t:1.0.0", images.DRIFTLOOP]
        named += ["ghcr.io/acme/s:1.0.0"] if serve["server"] == "python" or "image" in serve else []
        own = any("alibi" not in each for each in monitors.values())
        named += [images.MONITOR] if own else []
        named += [images.ENVOY] if backend == "plain" else []
        more["pins"] = {
            ref: f"sha256:{draw(st.integers(0, 9))}{'0' * 63}"
            for ref in sorted(draw(st.sets(st.sampled_from(named))))
        }
    spec: Parts = {
        **more,
        "images": {
            "trainer": {"ref": "ghcr.io/acme/t:1.0.0"},
            "server": {"ref": "ghcr.io/acme/s:1.0.0"},
        },
        "gpus": {
            "big": {
                "runtimeClass": draw(st.sampled_from([None, "nvidia"])),
                "nodeSelector": {"a/b": "c"},
            }
        },
        "data": data,
        "train": train,
        "evaluate": {"run": "evaluate:evaluate"},
        "serve": serve,
        "rollout": rollout,
        **(
            {"monitors": monitors, "retrain": {"on": sorted(monitors)[: draw(st.integers(0, 2))]}}
            if monitors
            else {}
        ),
        **({"observability": draw(_WATCHED)} if draw(st.booleans()) else {}),
    }
    metadata = {"name": name, **({"namespace": draw(_NAMES)} if draw(st.booleans()) else {})}
    return name, json.dumps(
        {
            "apiVersion": "driftloop.dev/v1alpha1",
            "kind": "Pipeline",
            "metadata": metadata,
            "spec": spec,
        }
    )


@settings(max_examples=15, deadline=None)
@given(specs(), st.sampled_from(["empty", "stable", "shadow", "canary", "promoted"]))
def test_nothing_is_found_in_what_a_valid_spec_renders_to(
    spec: tuple[str, str], phase: str
) -> None:
    name, text = spec
    namespace = str(json.loads(text)["metadata"].get("namespace", name))
    release = record.empty_release(name, namespace)
    if phase != "empty":
        release = record.release_first(release, version(f"{name}-000000000001"))
    if phase in ("shadow", "canary", "promoted"):
        release = record.start_shadow(release, version(f"{name}-000000000002"))
    if phase in ("canary", "promoted"):
        release = record.set_canary(release, 10)
    if phase == "promoted":
        release = record.promote_candidate(release)
    assert check_files(render_tree(text, record.dump_release(release)), catalogue=SCHEMAS) == ()
