"""Environment variables and folders of containers that run a person's code and that a spec can't set: they are set
already."""

from collections.abc import Mapping

from driftloop.contract.names import REHEARSAL, WORK

_FOLDER = "driftloop sets it to a folder that the container may write to"
_IMAGE = "it is the image's own, by which programs and modules are found; set it in its Dockerfile"
_SELDON = "driftloop tells a model server by it what it serves"

_NAMES: Mapping[str, str] = {
    "HOME": _FOLDER,
    "TMPDIR": _FOLDER,
    "PATH": _IMAGE,
    "PYTHONPATH": _IMAGE,
    "VIRTUAL_ENV": _IMAGE,
    "GRPC_WORKERS": _SELDON,
    "SELDON_DEPLOYMENT_ID": _SELDON,
    "SELDON_EXECUTOR_ENABLED": _SELDON,
}
_PREFIXES: Mapping[str, str] = {
    "DRIFTLOOP_": "driftloop's own variables begin so",
    "ARGO_": "Argo's own variables begin so",
    "KUBERNETES_": "Kubernetes' own variables begin so",
    "PREDICTIVE_UNIT_": _SELDON,
    "PREDICTOR_": _SELDON,
}


def find_owner(name: str) -> str | None:
    """Return why a spec can't set a variable; None where it can."""
    prefixed = (why for prefix, why in _PREFIXES.items() if name.startswith(prefix))
    return _NAMES.get(name) or next(prefixed, None)


_FOLDERS: Mapping[str, str] = {
    WORK: "driftloop's own files are there",
    REHEARSAL: "driftloop's own files are there",
    "/mnt/models": "the model is there",
    "/function": "driftloop's own files are there",
    "/tmp": "a container writes there what it does not keep",  # noqa: S108
    "/argo": "Argo's own files are there",
    "/var/run/argo": "Argo's own files are there",
    **dict.fromkeys(("/dev", "/proc", "/sys", "/run", "/etc/podinfo"), "it is the system's own"),
}
_IMAGE_FOLDERS = (
    "/bin",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/root",
    "/sbin",
    "/usr",
    "/var",
)


def find_folder_owner(path: str) -> str | None:
    """Return why a spec can't mount a volume at a path; None where it can."""
    for folder, why in _FOLDERS.items():
        if path == folder or path.startswith(f"{folder}/"):
            return why
    return (
        "it would hide the image's own files; take a folder below it"
        if path in _IMAGE_FOLDERS
        else None
    )
