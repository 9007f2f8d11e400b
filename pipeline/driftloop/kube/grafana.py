"""Grafana's dashboards: the part of their JSON that we write, as Grafana 10 to 13 read it."""

from typing import Annotated, Literal

from pydantic import Field

from driftloop.kube.base import ObjectPart

PanelType = Literal["timeseries", "state-timeline", "stat"]


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


class Scale(ObjectPart):
    """Scale of an axis."""

    type: Literal["linear", "log"]
    log: int | None = None
    """Base of a logarithmic one."""


class Custom(ObjectPart):
    """Settings of time series and state timelines only."""

    thresholds_style: ThresholdsStyle | None = None
    scale_distribution: Scale | None = None
    fill_opacity: int | None = None


class MappedValue(ObjectPart):
    """Text shown in place of a value."""

    text: str
    color: str
    index: int


class ValueMapping(ObjectPart):
    """Values as words, each with a colour."""

    type: Literal["value"] = "value"
    options: dict[str, MappedValue]


class FieldColor(ObjectPart):
    """Rule by which values get their colours."""

    mode: Literal["thresholds", "palette-classic"]


class Defaults(ObjectPart):
    """Format of all values of a panel."""

    unit: str
    min: float | None = None
    max: float | None = None
    decimals: int | None = None
    mappings: tuple[ValueMapping, ...] | None = None
    thresholds: Thresholds | None = None
    color: FieldColor | None = None
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


class ReduceOptions(ObjectPart):
    """Choice of the value of a series that a stat shows."""

    calcs: tuple[Literal["lastNotNull"], ...] = ("lastNotNull",)
    fields: str = ""
    values: bool = False


class Options(ObjectPart):
    """Options that depend on the kind of panel."""

    legend: Legend | None = None
    reduce_options: ReduceOptions | None = None
    text_mode: Literal["name", "value", "auto"] | None = None
    color_mode: Literal["none", "value", "background"] | None = None
    graph_mode: Literal["none", "area"] | None = None
    merge_values: bool | None = None
    show_value: Literal["auto", "never"] | None = None


class PanelLink(ObjectPart):
    """A link in the corner of a panel."""

    title: str
    url: str
    target_blank: bool = True


class Panel(ObjectPart):
    """One picture."""

    id: int
    type: PanelType
    title: str
    description: str
    grid_pos: GridPos
    datasource: Datasource
    field_config: FieldConfig
    options: Options
    links: tuple[PanelLink, ...] | None = None
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
    """A choice at the top: which of Grafana's data sources of a kind is asked, or what it answers to a
    question."""

    name: str
    label: str
    description: str | None = None
    type: Literal["datasource", "query"] = "datasource"
    datasource: Datasource | None = None
    query: str = "prometheus"
    regex: str | None = None
    """Part of an answer that is the value."""
    refresh: Literal[1, 2] | None = None
    """Asked anew when the dashboard is loaded (1), or its time changes, too (2)."""
    hide: Literal[0, 2] | None = None
    """2: nobody sees it."""


class AnnotationTarget(ObjectPart):
    """The question of an annotation."""

    ref_id: str = "Anno"
    expr: str
    interval: str = "60s"
    legend_format: str


class Annotation(ObjectPart):
    """Marks on the time axis of every panel."""

    name: str
    datasource: Datasource
    enable: bool = True
    icon_color: str
    target: AnnotationTarget
    title_format: str
    text_format: str
    use_value_for_time: Literal["on", "off"] = "on"
    """The value is the time, in milliseconds since 1970."""


class Annotations(ObjectPart):
    """All annotations."""

    list_: Annotated[tuple[Annotation, ...], Field(alias="list")]


class Link(ObjectPart):
    """A link at the top."""

    type: Literal["link"] = "link"
    title: str
    url: str
    tooltip: str
    icon: str = "external link"
    target_blank: bool = True
    as_dropdown: bool = False
    include_vars: bool = False
    keep_time: bool = False
    tags: tuple[()] = ()


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
    annotations: Annotations
    links: tuple[Link, ...]
    panels: tuple[Row | Panel, ...]
