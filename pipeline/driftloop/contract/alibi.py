"""The classes of alibi-detect that a monitor may name, and their settings.

What a class is given besides settings is the detector's: the reference, and its p-value as `alarmRate`. A
class that keeps state from window to window, or needs a network or model that a spec can't write, is refused
with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from driftloop.contract.documents import document_key, from_json, is_number, is_whole, show_value

AlibiName = Literal[
    "KSDrift",
    "CVMDrift",
    "ChiSquareDrift",
    "TabularDrift",
    "FETDrift",
    "MMDDrift",
    "LSDDDrift",
    "ClassifierDrift",
    "SpotTheDiffDrift",
    "LearnedKernelDrift",
    "OutlierAE",
    "OutlierVAE",
    "SpectralResidual",
]
ALIBI_NAMES: tuple[AlibiName, ...] = get_args(AlibiName)

AlibiForm = Literal["columns", "features", "series"]
"""What a class reads: the columns as they are, the features that columns are encoded as, or one column in the
order of the rows."""
SettingKind = Literal["whole", "number", "truth", "text", "sizes"]

LARGEST = 1_000_000
_ALLOWED: Mapping[SettingKind, str] = {
    "whole": f"a whole number from 1 to {LARGEST}",
    "number": "a number, 0 or more",
    "truth": "true or false",
    "text": "text",
    "sizes": "a list of whole numbers from 1",
}


@dataclass(frozen=True)
class AlibiClass:
    """A class, where it is, and the settings that it takes."""

    module: str
    """Module of `alibi_detect`."""
    form: AlibiForm
    settings: Mapping[str, SettingKind] = field(default_factory=dict)
    """Name of a setting and what it is; `hidden` is ours: the sizes of the hidden layers of its network."""
    framework: bool = False
    """It needs TensorFlow."""
    scores_rows: bool = False
    """It scores single rows, not whole windows."""


_COLUMNS: Mapping[str, SettingKind] = {"correction": "text"}
_SIDED: Mapping[str, SettingKind] = {**_COLUMNS, "alternative": "text"}
_TRAINED: Mapping[str, SettingKind] = {
    "epochs": "whole",
    "batch_size": "whole",
    "learning_rate": "number",
}
_CLASSIFIED: Mapping[str, SettingKind] = {
    **_TRAINED,
    "binarize_preds": "truth",
    "train_size": "number",
    "n_folds": "whole",
}
_PERMUTED: Mapping[str, SettingKind] = {"n_permutations": "whole"}
_ENCODED: Mapping[str, SettingKind] = {
    "hidden": "sizes",
    "latent_dim": "whole",
    "epochs": "whole",
    "batch_size": "whole",
}

ALIBI_CLASSES: Mapping[AlibiName, AlibiClass] = {
    "KSDrift": AlibiClass("cd.ks", "columns", _SIDED),
    "CVMDrift": AlibiClass("cd.cvm", "columns", _COLUMNS),
    "ChiSquareDrift": AlibiClass("cd.chisquare", "columns", _COLUMNS),
    "TabularDrift": AlibiClass("cd.tabular", "columns", _SIDED),
    "FETDrift": AlibiClass("cd.fet", "columns", _SIDED),
    "MMDDrift": AlibiClass("cd.mmd", "features", {**_PERMUTED, "sigma": "number"}, True),
    "LSDDDrift": AlibiClass(
        "cd.lsdd",
        "features",
        {**_PERMUTED, "sigma": "number", "n_kernel_centers": "whole", "lambda_rd_max": "number"},
        True,
    ),
    "ClassifierDrift": AlibiClass(
        "cd.classifier", "features", {**_CLASSIFIED, "hidden": "sizes"}, True
    ),
    "SpotTheDiffDrift": AlibiClass(
        "cd.spot_the_diff",
        "features",
        {**_CLASSIFIED, "n_diffs": "whole", "l1_reg": "number"},
        True,
    ),
    "LearnedKernelDrift": AlibiClass(
        "cd.learned_kernel",
        "features",
        {**_TRAINED, **_PERMUTED, "hidden": "sizes", "train_size": "number", "var_reg": "number"},
        True,
    ),
    "OutlierAE": AlibiClass("od.ae", "features", _ENCODED, True, True),
    "OutlierVAE": AlibiClass(
        "od.vae", "features", {**_ENCODED, "samples": "whole", "beta": "number"}, True, True
    ),
    "SpectralResidual": AlibiClass(
        "od.sr",
        "series",
        {
            "window_amp": "whole",
            "window_local": "whole",
            "n_est_points": "whole",
            "n_grad_points": "whole",
        },
        scores_rows=True,
    ),
}

_ONLINE = "keeps state from row to row, and a window is judged again after a restart"
_OWN_MODEL = "needs your model inside the detector: watch its answers with `on: response`"
_OWN_NETWORKS = "needs networks of your own: write a function (`run`)"
REFUSED: Mapping[str, str] = {
    "MMDDriftOnline": f"{_ONLINE}; `MMDDrift` tests windows",
    "LSDDDriftOnline": f"{_ONLINE}; `LSDDDrift` tests windows",
    "CVMDriftOnline": f"{_ONLINE}; `CVMDrift` tests windows",
    "FETDriftOnline": f"{_ONLINE}; `FETDrift` tests windows",
    "ClassifierUncertaintyDrift": _OWN_MODEL,
    "RegressorUncertaintyDrift": _OWN_MODEL,
    "ContextMMDDrift": "needs a context beside each row, which no request has",
    "AdversarialAE": _OWN_MODEL,
    "ModelDistillation": _OWN_MODEL,
    "OutlierAEGMM": _OWN_NETWORKS,
    "OutlierVAEGMM": _OWN_NETWORKS,
    "OutlierSeq2Seq": _OWN_NETWORKS,
    "LLR": _OWN_NETWORKS,
    "OutlierProphet": "reads times of rows, which a window does not have",
    "IForest": "is `detector: iforest`",
    "Mahalanobis": "moves with what it judges; `detector: mahalanobis` does not",
}
"""Classes that a monitor can't be, and why."""


def is_setting(kind: SettingKind, value: object) -> bool:
    """Return True for a value of a setting's kind."""
    match kind:
        case "whole":
            return is_whole(value, 1, LARGEST)
        case "number":
            return is_number(value) and float(str(value)) >= 0
        case "truth":
            return isinstance(value, bool)
        case "text":
            return isinstance(value, str) and value != ""
        case "sizes":
            return isinstance(value, list) and all(is_whole(n, 1, LARGEST) for n in value)


def find_problems(name: AlibiName, settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each setting that a class does not take, and what is allowed."""
    allowed = ALIBI_CLASSES[name].settings
    for setting, value in settings.items():
        if setting not in allowed:
            names = ", ".join(f"`{each}`" for each in sorted(allowed))
            yield setting, f"is not a setting of {name}, must be one of: {names}"
        elif not is_setting(allowed[setting], value):
            yield setting, f"is {show_value(value)}, must be {_ALLOWED[allowed[setting]]}"


@dataclass(frozen=True)
class AlibiSettings:
    """A class of alibi-detect and its settings."""

    name: AlibiName = document_key(
        "class", f"one of: {', '.join(ALIBI_NAMES)}", lambda v: v in ALIBI_NAMES
    )
    """Class."""
    settings: Mapping[str, Any] = document_key(
        "settings", "an object", lambda v: isinstance(v, dict), default=None, read=dict, write=dict
    )
    """Its settings."""

    @classmethod
    def read(cls, document: object) -> "AlibiSettings":
        """Read the settings from plain data; DocumentError."""
        return from_json(cls, document, label="the settings of alibi-detect")
