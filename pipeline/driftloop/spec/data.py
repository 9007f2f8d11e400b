"""Source of the labelled batches, and the steps before training."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from driftloop.contract.columns import TARGET, ColumnUse
from driftloop.spec.base import SpecModel
from driftloop.spec.commands import Command, refuse_two_ways
from driftloop.spec.environment import GivenEnvironment, Variables, VariableSources
from driftloop.spec.pods import NO_SECURED_SETTINGS, SecuredPodSettings
from driftloop.spec.resources import Resources, Retries
from driftloop.spec.sources import DataSource
from driftloop.spec.values import (
    ColumnName,
    ColumnNames,
    Function,
    ImageName,
    Memory,
    PositiveDuration,
    S3Uri,
    StepName,
)
from driftloop.spec.volumes import Volumes


class DataStep(SpecModel, GivenEnvironment):
    """One step between the raw batches and the training data."""

    name: StepName
    """Name of the step, unique in this list."""
    image: ImageName = "trainer"
    """Name of an image under spec.images."""
    run: Function | None = None
    """`module:function`, called with the folders `data` and `out`."""
    command: Command = ()
    """Instead of `run`: a command that reads /work/in/data and writes /work/out/data."""
    timeout: PositiveDuration = timedelta(minutes=30)
    """The step is stopped and fails after this time."""
    retries: Retries | None = None
    """Try again when the step itself fails."""
    cache: PositiveDuration | None = None
    """Take the output of an earlier run over the same data, up to this old, instead of running."""
    approve: bool = False
    """Hold the run after this step until a person approves it (`driftloop approve`); the next step reads what
    is in the step's folder of the bucket then."""
    resources: Resources = Resources()
    """Resources of the step's container."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of the step's container: a text, `{secret: NAME, key: KEY}` or `{config: NAME, key: KEY}`."""
    env_from: VariableSources = ()
    volumes: Volumes = ()
    pod: SecuredPodSettings = NO_SECURED_SETTINGS
    """Placement, marks and rights of the step's pod."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        refuse_two_ways(self.run, self.command)
        return self


class Data(SpecModel):
    """Source of the labelled batches, and the steps before training."""

    uri: S3Uri
    """Folder of labelled batches (.npz, .csv, .jsonl or .parquet files of rows); it may be empty where there are
    `sources`."""
    sources: Annotated[dict[StepName, DataSource], Field(max_length=50)] = Field(
        default_factory=dict
    )
    """Files and folders elsewhere, whose files are batches, too, by a name for each. What is new or changed there
    when a run starts, or `train.newData` looks, is copied into the platform's bucket once."""
    steps: Annotated[tuple[DataStep, ...], Field(max_length=20)] = ()
    """Run in this order; each reads what the one before wrote."""
    heldout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of rows kept from training and used to evaluate; chosen by the row's hash."""
    features: ColumnNames = "x"
    """Input of the detectors: an array (.npz), or columns separated by commas; `x`: all columns
    but the target."""
    target: ColumnName = TARGET
    """Column (.npz: array) with the right answers; never an input of the detectors."""
    columns: dict[ColumnName, ColumnUse] = Field(default_factory=dict, max_length=1000)
    """`number`, `category`, `boolean`, `time`, `text` or `ignore` of a column that is learnt wrong.
    By its name: `zip: category`, a number that counts nothing; `note: ignore`, which no detector gets."""
    max_size: Memory = "20Gi"
    """Size of all batches together that a run reads at most; with more it ends before it fetches any."""
