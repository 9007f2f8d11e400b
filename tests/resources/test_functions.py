"""The container of a monitor's function has the user's image and its own folder, and nothing of its detector's."""

from typing import Any

import yaml

from tests.golden.trees import tree

FILES = {
    "detector": "monitors/function/fares.deployment.yaml",
    "step": "workflows/function/train.workflowtemplate.yaml",
}


def pods() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The function's container, and the others of its pod, in the detector and in the step that fits it."""
    files = tree("function")
    pod = yaml.safe_load(files[FILES["detector"]])["spec"]["template"]["spec"]
    others = [each for each in pod["containers"] if each["name"] != "function"]
    (own,) = (each for each in pod["containers"] if each["name"] == "function")
    assert pod["automountServiceAccountToken"] is False
    templates = yaml.safe_load(files[FILES["step"]])["spec"]["templates"]
    (step,) = (each for each in templates if each["name"] == "fit-fares")
    (sidecar,) = step["sidecars"]
    assert "serviceAccountName" not in step, "the template's own account has no right"
    assert "automountServiceAccountToken" not in step
    return [(own, [*others, *pod["initContainers"]]), (sidecar, [step["container"]])]


def test_it_has_no_credential_and_no_folder_of_the_others() -> None:
    for own, others in pods():
        assert own["image"] == "ghcr.io/acme/function-trainer:1.0.0"
        assert [each["name"] for each in own["env"]] == ["HOME", "TMPDIR"]
        assert all("valueFrom" not in each for each in own["env"])
        assert own["securityContext"]["readOnlyRootFilesystem"] is True
        assert own["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        (mount,) = own["volumeMounts"]
        assert mount == {"name": "function", "mountPath": "/work"}
        # Argo mounts each volume of a template in the step's own container, too
        theirs = {m["mountPath"]: m["name"] for each in others for m in each["volumeMounts"]}
        assert {path for path, name in theirs.items() if name == "function"} <= {"/function"}


def test_a_detector_of_ours_has_none() -> None:
    files = tree("monitors")
    assert "driftloop-train" not in files["monitors/monitors/drift.deployment.yaml"]
    templates = yaml.safe_load(files["workflows/monitors/train.workflowtemplate.yaml"])["spec"]
    (step,) = (each for each in templates["templates"] if each["name"] == "fit-drift")
    assert step["serviceAccountName"] == "monitors-steps"
    assert "sidecars" not in step
