"""The detectors a spec can name, one model each. A new one joins the union; the type checker
names what is missing."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from driftloop.contract.alibi import ALIBI_NAMES, REFUSED, AlibiName
from driftloop.contract.functions import RowsForm
from driftloop.spec.base import SpecModel
from driftloop.spec.environment import GivenEnvironment, Variables, VariableSources
from driftloop.spec.pods import OwnPodSettings
from driftloop.spec.resources import Resources
from driftloop.spec.values import (
    ColumnNames,
    Function,
    ImageName,
    ParameterName,
    PositiveDuration,
    Scalar,
)
from driftloop.spec.volumes import Volumes

FEWEST_ROWS = 10
MOST_SLICED = 5
"""Columns by whose values answers are judged apart."""
Effect = Annotated[float, Field(ge=0, le=1)]
"""Difference between two distributions, as a share of the rows."""
WindowRows = Annotated[int, Field(ge=FEWEST_ROWS, le=100_000)]


def _from_a_second(time: timedelta) -> timedelta:
    if time < timedelta(seconds=1):
        raise ValueError("must be at least `1s`")
    return time


class TimedWindow(SpecModel):
    """Rows that are judged together: so many, or those of so much time."""

    rows: WindowRows
    """Rows at which a window closes."""
    at_most: Annotated[PositiveDuration, AfterValidator(_from_a_second)] | None = None
    """Time after its first row at which a window closes with fewer rows; without it, it waits for
    all."""
    least: WindowRows | None = None
    """Rows without which it does not close by time: it stays open until they are there. Default: a
    fifth of `rows`, at least 10."""

    @model_validator(mode="after")
    def _a_least_of_rows(self) -> Self:
        if self.least is not None and self.at_most is None:
            raise ValueError("must have `atMost` with `least`: without it a window has all `rows`")
        if self.least is not None and self.least > self.rows:
            raise ValueError("must have a `least` that is not above its `rows`")
        return self


def _window_form(value: Any) -> str:
    return "timed" if isinstance(value, dict | TimedWindow) else "rows"


WindowForm = Annotated[
    Annotated[WindowRows, Tag("rows")] | Annotated[TimedWindow, Tag("timed")],
    Discriminator(_window_form),
]


class Alarms(SpecModel):
    """Alarms that count together: k of n windows."""

    least: Annotated[int, Field(ge=1, le=100)]
    """Windows that must alarm."""
    of: Annotated[int, Field(ge=1, le=100)]
    """Windows in a row that they are among."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.least > self.of:
            raise ValueError("must have a `least` that is not above its `of`")
        return self


class _Monitor(SpecModel):
    window: WindowForm = 200
    """Rows that are judged together; a mapping when time closes a window, too."""
    alarm_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of windows that may alarm though nothing has changed, instead of this monitor's part of
    `falseAlarms`."""
    columns: ColumnNames | None = None
    """Columns that it looks at, separated by commas: of `data.features`, or with `on: response` of the
    model's answers. All of them when left out."""
    then: Literal["retrain", "alert", "halt", "rollback"] | None = None
    """What alarms that count do: start a run, only raise an alert, halt the loop as `driftloop halt`
    does, or go back to the previous release by a commit and halt the loop. When left out, what
    `retrain.on` says: a run, or an alert, of detectors of single rows neither."""
    alarms: Alarms | None = None
    """Windows that must alarm before it counts; when left out `retrain.consecutive` in a row."""
    pod: OwnPodSettings = OwnPodSettings()
    """Placement, marks and rights of its pod, and of that of the step that fits it."""

    @property
    def window_rows(self) -> int:
        """Rows at which a window closes."""
        return self.window if isinstance(self.window, int) else self.window.rows

    @property
    def window_time(self) -> timedelta | None:
        """Time after its first row at which a window closes with fewer rows."""
        return None if isinstance(self.window, int) else self.window.at_most

    @property
    def window_least(self) -> int:
        """Rows without which a window does not close."""
        if isinstance(self.window, int) or self.window.at_most is None:
            return self.window_rows
        return self.window.least or max(FEWEST_ROWS, self.window.rows // 5)


class _Detector(_Monitor):
    on: Literal["request", "response"] = "request"
    """Requests, compared with the training data, or answers, compared with those of the rehearsal."""


class LeastEffects(SpecModel):
    """Effects below which a column has not drifted, however certain it is that it moved, by its type."""

    number: Effect = 0.05
    """Of numbers: the largest distance between the two distribution functions, or between two shares of a
    value that repeats. A mean that moves by 0.125 standard deviations moves them by 0.05."""
    text: Effect = 0.05
    """Of lengths of texts, likewise."""
    category: Effect = 0.02
    """Difference of the share of one category, or of all together."""
    boolean: Effect = 0.02
    """Difference of the share of true."""
    missing: Effect = 0.01
    """Difference of the share of missing values, in columns of every type, and of new categories."""


class Tabular(_Detector):
    """Tests each column of a table by its type: numbers, categories, booleans, text and times, with missing
    values; one correction over all tests."""

    detector: Literal["tabular"] = "tabular"
    """The algorithm."""
    at_least: LeastEffects = LeastEffects()
    """Smaller changes are no alarm, by type of column."""
    lasting: bool = True
    """Judge the last 4, 8, ... up to 128 windows together, too, so that a small change that lasts is seen; an
    alarm of them counts by itself, whatever `alarms` says."""


class Schema(_Detector):
    """Looks for rows that the training data do not have: missing and unreadable values, values beyond their
    range, new categories, columns with one value only, rows that are none of the model's."""

    detector: Literal["schema"] = "schema"
    """The algorithm."""
    margin: Annotated[float, Field(ge=0, le=1000)] = 0.1
    """Part of the range of a column's values in the training data by which others may lie beyond it."""
    at_least: Effect = 0.01
    """Share of rows by which one of these must have moved before it is an alarm, however certain it is."""


class MaximumMeanDiscrepancy(_Detector):
    """Compares rows as wholes, so also columns that go together otherwise than they did, by a permutation
    test of the maximum mean discrepancy. Takes about 30 columns of any type."""

    detector: Literal["mmd"] = "mmd"
    """The algorithm."""
    at_least: Effect = 0.05
    """Smaller changes are no alarm: half the difference of a correlation, or of single columns as of
    `tabular`."""


class KolmogorovSmirnov(_Detector):
    """Compares each feature's distribution by the two-sample Kolmogorov-Smirnov test (Bonferroni
    corrected)."""

    detector: Literal["ks"] = "ks"
    """The algorithm."""
    at_least: Effect = 0.05
    """Smaller distances between two distribution functions are no alarm."""


class CramerVonMises(_Detector):
    """Compares each feature's distribution by the two-sample Cramér-von Mises test (Bonferroni
    corrected)."""

    detector: Literal["cvm"] = "cvm"
    """The algorithm."""
    at_least: Effect = 0.05
    """Smaller distances between two distribution functions are no alarm."""


class ChiSquared(_Detector):
    """Compares how often each feature's categories (numbers that name something) come up, by the
    chi-squared test."""

    detector: Literal["chi2"] = "chi2"
    """The algorithm."""
    at_least: Effect = 0.02
    """Smaller differences of a category's share are no alarm."""


class IsolationForest(_Detector):
    """Scores each row by how quickly random splits isolate it."""

    detector: Literal["iforest"] = "iforest"
    """The algorithm."""
    at_least: Effect = 0.01
    """Smaller shares of outliers, beyond the one in a hundred that there always are, are no alarm."""


class Mahalanobis(_Detector):
    """Scores each row by its distance from the training data, in units of its spread."""

    detector: Literal["mahalanobis"] = "mahalanobis"
    """The algorithm."""
    at_least: Effect = 0.01
    """Smaller shares of outliers, beyond the one in a hundred that there always are, are no alarm."""


class UserFunction(_Detector, GivenEnvironment):
    """A function of yours: `run(reference, window)` returns a dict with `score`, or `alarm`, and may name a
    `threshold`, `columns` and `outliers`. It runs in a container of its own, without
    driftloop's credentials."""

    detector: Literal["function"] = "function"
    """The algorithm; may be left out beside `run`."""
    run: Function
    """`module:function`, called with the rows `reference` and `window`, and with `parameters`."""
    fit: Function | None = None
    """`module:function`, called with `rows`; what it returns is the `reference` of `run`."""
    image: ImageName = "trainer"
    """Name of an image under spec.images; built from `ghcr.io/driftloop/trainer`."""
    parameters: dict[ParameterName, Scalar] = Field(default_factory=dict)
    """Keyword arguments of `run`, and those of `fit` that it names."""
    form: RowsForm = "lists"
    """Rows as the functions get them: lists by column, a pandas.DataFrame, a pyarrow.Table, or a numpy
    array of numbers."""
    timeout: PositiveDuration = timedelta(seconds=30)
    """A call is stopped after this time, and its window not judged."""
    resources: Resources = Resources(cpu="100m", memory="512Mi")
    """Resources of the function's container; near its memory a call is stopped, too."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of the function's container: a text, `{secret: NAME, key: KEY}` or `{config: NAME, key: KEY}`."""
    env_from: VariableSources = ()
    volumes: Volumes = ()


def _refuse_class(name: Any) -> Any:
    if name in REFUSED:
        raise ValueError(f"which {REFUSED[name]}; must be one of: {', '.join(ALIBI_NAMES)}")
    return name


class AlibiReference(SpecModel):
    """A class of alibi-detect 0.11.4, and its settings."""

    class_: Annotated[AlibiName, Field(alias="class"), BeforeValidator(_refuse_class)]
    """Name of the class."""
    settings: dict[ParameterName, Scalar | list[int]] = Field(default_factory=dict)
    """Keyword arguments of the class; `hidden` are the sizes of the hidden layers of its network."""


class AlibiDetect(_Detector):
    """A class of alibi-detect by name, in an image of its own with TensorFlow: MMDDrift, LSDDDrift,
    ClassifierDrift, OutlierVAE and others."""

    detector: Literal["alibi"] = "alibi"
    """The algorithm; may be left out beside `alibi`."""
    alibi: AlibiReference
    """The class and its settings."""


class Quality(_Monitor):
    """Compares answers with the right ones, once their labels come: the share of right answers, or the absolute
    error of numbers, with those of held-out rows."""

    detector: Literal["quality"] = "quality"
    """The algorithm; may be left out beside `on: label`."""
    on: Literal["label"] = "label"
    """Answers, together with their labels."""
    at_least: Effect = 0.02
    """A smaller loss is no alarm: of the share of right answers; of numbers, how much oftener than in half of
    all cases an error is larger than one of the held-out rows."""
    wait: PositiveDuration = timedelta(days=30)
    """Time for which an answer waits for its label, and a label for its answer. Both are kept as long."""
    slices: ColumnNames | None = None
    """Columns of requests, separated by commas, at most 5: the rows of each of their values (the 20 with the most
    held-out rows, of those that have 20) are judged by themselves, too, within the same budget of false alarms."""

    @model_validator(mode="after")
    def _all_columns(self) -> Self:
        if self.columns is not None:
            raise ValueError("must have no `columns`: it looks at answers and labels")
        return self

    @model_validator(mode="after")
    def _few_slices(self) -> Self:
        if len(self.slice_columns) > MOST_SLICED:
            raise ValueError(f"must name at most {MOST_SLICED} columns in `slices`")
        if len(set(self.slice_columns)) < len(self.slice_columns):
            raise ValueError("must name each column of `slices` once")
        return self

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """The columns of `slices`."""
        return () if self.slices is None else tuple(self.slices.split(","))


class Estimate(_Monitor):
    """Estimates how good answers are before their labels come, by what it learnt from the rehearsal's answers and labels,
    and compares it with the estimate of the held-out rows."""

    detector: Literal["estimate"] = "estimate"
    """The algorithm."""
    on: Literal["response"] = "response"
    """Answers."""
    by: Literal["cbpe", "dle"] = "cbpe"
    """How: `cbpe` from the probabilities of classes, how many answers are right; `dle` from requests and answers that
    are numbers, how large their absolute errors are. It reads the requests as well, then."""
    at_least: Effect = 0.02
    """A smaller loss is no alarm: of the estimated accuracy; of errors, how much oftener than in half of all cases an
    expected error is larger than one of the held-out rows."""

    @model_validator(mode="after")
    def _all_columns(self) -> Self:
        if self.columns is not None:
            raise ValueError("must have no `columns`: it looks at whole answers")
        return self


IMPLIED: tuple[tuple[str, str], ...] = (("run", "function"), ("alibi", "alibi"))
"""Keys of a monitor without `detector` that say which it is."""


def _choose_detector(value: Any) -> str | None:
    """Return the tag of a monitor: its `detector`, what another key implies, or `tabular`."""
    if not isinstance(value, dict):
        tag = getattr(value, "detector", "tabular")
        return tag if isinstance(tag, str) else repr(tag)
    default = "quality" if value.get("on") == "label" else "tabular"
    implied = next((name for key, name in IMPLIED if key in value), default)
    chosen = value.get("detector", implied)
    return chosen if chosen is None or isinstance(chosen, str) else repr(chosen)


Detector = Annotated[
    Annotated[Tabular, Tag("tabular")]
    | Annotated[Schema, Tag("schema")]
    | Annotated[MaximumMeanDiscrepancy, Tag("mmd")]
    | Annotated[KolmogorovSmirnov, Tag("ks")]
    | Annotated[CramerVonMises, Tag("cvm")]
    | Annotated[ChiSquared, Tag("chi2")]
    | Annotated[IsolationForest, Tag("iforest")]
    | Annotated[Mahalanobis, Tag("mahalanobis")]
    | Annotated[UserFunction, Tag("function")]
    | Annotated[AlibiDetect, Tag("alibi")]
    | Annotated[Quality, Tag("quality")]
    | Annotated[Estimate, Tag("estimate")],
    Discriminator(_choose_detector),
]
"""Any of them."""

RowDetector = IsolationForest | Mahalanobis
"""Those that score single rows: does one look like nothing in the training data? The others score whole
windows: do they still look like the training data?"""
