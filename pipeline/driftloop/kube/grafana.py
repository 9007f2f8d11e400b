"""Grafana's dashboards: the part of their JSON that we write, as Grafana 10 to 13 read it."""

from typing import Annotated, Literal

from pydantic import Field

from driftloop.kube.base import ObjectPart


class Datasource(ObjectPart):
    """Data source of a panel."""

    type: Literal["prometheus"] = "prometheus"
    uid: str


class GridPos(ObjectPart):
    """A place on a grid of 24 columns."""

    x: int
    y: int
    w: int
    h: int


class PanelTarget(ObjectPart):
    """One question, and how its answers are called."""

    ref_id: str
    expr: str
    legend_format: str
    datasource: Datasource


class Threshold(ObjectPart):
    """From this value on, this colour."""

    color: str
    value: float


class Thresholds(ObjectPart):
    """Colours by value."""

    mode: Literal["absolute"] = "absolute"
    steps: tuple[Threshold, ...]


class ThresholdsStyle(ObjectPart):
    """Style of thresholds: a line across the panel."""

    mode: Literal["off", "line"]


class Custom(ObjectPart):
    """Settings of time series only."""

    thresholds_style: ThresholdsStyle


class Defaults(ObjectPart):
    """Format of all values of a panel."""

    unit: str
    min: float | None = None
    thresholds: Thresholds | None = None
    custom: Custom | None = None


class FieldConfig(ObjectPart):
    """Format of values."""

    defaults: Defaults
    overrides: tuple[()] = ()


class Legend(ObjectPart):
    """The names of the series."""

    display_mode: Literal["list"] = "list"
    placement: Literal["bottom"] = "bottom"
    show_legend: bool = True


class Options(ObjectPart):
    """Options that depend on the kind of panel."""

    legend: Legend = Legend()


class Panel(ObjectPart):
    """One picture."""

    id: int
    type: Literal["timeseries", "state-timeline"]
    title: str
    description: str
    grid_pos: GridPos
    datasource: Datasource
    field_config: FieldConfig
    options: Options = Options()
    targets: tuple[PanelTarget, ...]


class Row(ObjectPart):
    """A heading across the dashboard."""

    id: int
    type: Literal["row"] = "row"
    title: str
    collapsed: bool = False
    grid_pos: GridPos
    panels: tuple[()] = ()


class Variable(ObjectPart):
    """A choice at the top: which of Grafana's data sources of a kind is asked."""

    name: str
    label: str
    type: Literal["datasource"] = "datasource"
    query: Literal["prometheus"] = "prometheus"


class Templating(ObjectPart):
    """All choices."""

    list_: Annotated[tuple[Variable, ...], Field(alias="list")]


class Span(ObjectPart):
    """The time that is shown at first."""

    from_: Annotated[str, Field(alias="from")]
    to: str


class Dashboard(ObjectPart):
    """A dashboard as Grafana's sidecar reads it from a ConfigMap; `uid` is its address for ever."""

    uid: str
    title: str
    tags: tuple[str, ...]
    schema_version: int
    editable: bool = False
    refresh: str
    time: Span
    timezone: str = ""
    templating: Templating
    panels: tuple[Row | Panel, ...]
