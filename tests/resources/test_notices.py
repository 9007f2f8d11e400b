"""Who is told: Flux' Providers and Alerts, and Alertmanager's routes, by the receivers of a platform file."""

from typing import Any

import yaml

from driftloop.check import check_files
from driftloop.platform import parse_platform
from driftloop.render import render_tree
from tests.golden.trees import release_text, spec_text

PLATFORM = """\
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {name: prod}
spec:
  path: clusters/prod
  notifications:
    flux: everything
    receivers:
      - {type: slack, name: ops, secret: slack-address, channel: "#ml"}
      - {type: teams, name: science, secret: teams-address}
      - {type: webhook, name: pager, secret: pager-address}
      - {type: mail, name: mail, to: [a@acme.example, b@acme.example], sender: d@acme.example, server: "smtp:587",
         user: d, secret: mail-password}
"""


def render(name: str) -> dict[str, list[dict[str, Any]]]:
    platform = parse_platform(PLATFORM, path="driftloop/prod/platform.yaml")
    files = render_tree(spec_text(name), release_text(name), platform=platform)
    assert check_files(dict(files)) == ()
    return {path: list(yaml.safe_load_all(text)) for path, text in files.items()}


def test_flux_tells_of_the_pipelines_own_kustomizations() -> None:
    files = render("minimal")
    told = [
        item
        for item in files["cluster/prod/access/minimal.yaml"]
        if item["apiVersion"].startswith("notification.")
    ]
    assert [(item["kind"], item["metadata"]["name"]) for item in told] == [
        (kind, f"minimal-tell-{name}")
        for name in ("ops", "science", "pager")
        for kind in ("Provider", "Alert")
    ]
    assert [item["spec"]["type"] for item in told[::2]] == ["slack", "msteams", "generic"]
    assert told[0]["spec"]["secretRef"] == {"name": "slack-address"}
    assert told[1]["spec"]["eventSeverity"] == "info"
    assert [source["name"] for source in told[1]["spec"]["eventSources"]] == [
        "minimal-workflows",
        "minimal-deployments",
        "minimal-monitors",
    ]
    assert not any("alertmanagerconfig" in path for path in files), "it has no alerts"


def test_alerts_go_to_every_receiver_and_flux_may_apply_the_routes() -> None:
    files = render("observability")
    (name,) = (path.split("/")[1] for path in files if path.endswith("/release.yaml"))
    (config,) = files[f"monitors/{name}/notices.alertmanagerconfig.yaml"]
    spec = config["spec"]
    assert [route["receiver"] for route in spec["route"]["routes"]] == [
        "ops",
        "science",
        "pager",
        "mail",
    ]
    assert all(route["continue"] for route in spec["route"]["routes"])
    slack, teams, pager, mail = spec["receivers"]
    assert slack["slackConfigs"][0]["apiURL"] == {"name": "slack-address", "key": "address"}
    assert teams["msteamsv2Configs"][0]["webhookURL"]["name"] == "teams-address"
    assert pager["webhookConfigs"][0]["urlSecret"]["name"] == "pager-address"
    assert mail["emailConfigs"][0]["to"] == "a@acme.example, b@acme.example"
    assert mail["emailConfigs"][0]["authPassword"] == {"name": "mail-password", "key": "password"}
    role = next(
        item
        for item in files[f"cluster/prod/access/{name}.yaml"]
        if item["kind"] == "Role" and item["metadata"]["name"] == f"{name}-flux"
    )
    assert any("alertmanagerconfigs" in rule["resources"] for rule in role["rules"])
