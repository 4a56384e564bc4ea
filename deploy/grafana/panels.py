"""How a panel looks here: a few kinds with one style, made with Grafana's own builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as dashboards

#: The data source of deploy/grafana/provisioning.
SOURCE: Final = dashboards.DataSourceRef("prometheus", "scoreboard")
#: The window of a rate; Grafana makes it at least four scrapes long.
RATE: Final = "[$__rate_interval]"
GOOD: Final = "#5fd0bd"
WARN: Final = "#f2c063"
BAD: Final = "#ff9a98"
_WIDTH: Final = 24

Panel = timeseries.Panel | stat.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and what its series are called, such as `{{instance}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Panels under one heading; they share the width."""

    title: str
    panels: Sequence[Panel] = field(default_factory=tuple)


def graph(
    title: str, unit: str, *queries: Query, about: str = "", stacked: bool = False, empty: str | None = None
) -> timeseries.Panel:
    """Lines over time.

    Args:
        empty: what is said instead where no series is usual: without it, no data is a fault that the check tells.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .min(0)
        .datasource(SOURCE)
        .height(8)
        .line_width(2)
        .fill_opacity(30 if stacked else 8)
        .show_points(models.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(models.LegendDisplayMode.LIST).show_legend(True).calcs(["last"]))
        .tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING))
        .stacking(
            common.StackingConfig().mode(models.StackingMode.NORMAL if stacked else models.StackingMode.NONE).group("A")
        )
        .targets(_targets(queries))
    )
    return panel if empty is None else panel.no_value(empty)


def number(
    title: str, unit: str, expr: str, *, about: str = "", warn: float | None = None, bad: float | None = None
) -> stat.Panel:
    """One figure, coloured from `warn` and from `bad` on."""
    steps = [dashboards.Threshold(value=None, color=GOOD)]
    steps += [dashboards.Threshold(value=at, color=color) for at, color in ((warn, WARN), (bad, BAD)) if at is not None]
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .graph_mode(models.BigValueGraphMode.AREA)
        .color_mode(models.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .thresholds(dashboard.ThresholdsConfig().mode(dashboards.ThresholdsMode.ABSOLUTE).steps(steps))
        .targets(_targets([Query(expr)]))
    )


def quantile(q: float, histogram: str, *, by: str = "", matching: str = "") -> str:
    """A quantile of a histogram of ours, over all processes or by a label."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket{matching}{RATE})))"


def rate(counter: str, *, by: str = "", matching: str = "") -> str:
    """Events a second, summed up; 0 rather than nothing when there is no label to keep."""
    if by:
        return f"sum by ({by}) (rate({counter}{matching}{RATE}))"
    return f"sum(rate({counter}{matching}{RATE})) or vector(0)"


def board(
    name: str, title: str, about: str, groups: Sequence[Group], *, instances_of: str = ""
) -> dashboards.Dashboard:
    """A dashboard; with `instances_of` (a metric) one can choose among its instances as `$instance`."""
    built = (
        dashboard.Dashboard(f"Scoreboard: {title}")
        .uid(f"scoreboard-{name}")
        .description(about)
        .tags(["scoreboard"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .link(dashboard.DashboardLink("Scoreboard").type(dashboards.DashboardLinkType.DASHBOARDS).tags(["scoreboard"]))
    )
    if instances_of:
        variable = (
            dashboard.QueryVariable("instance")
            .label("Part")
            .datasource(SOURCE)
            .query(f"label_values({instances_of}, instance)")
            .include_all(True)
            .all_value(".+")
            .multi(True)
        )
        built = built.with_variable(variable)
    number_of = 0
    for group in groups:
        number_of += 1
        built = built.with_row(dashboard.Row(group.title).id(number_of))
        for panel in group.panels:
            number_of += 1
            built = built.with_panel(panel.id(number_of).span(_WIDTH // len(group.panels)))
    return built.build()


def _targets(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter).range()
        for query, letter in zip(queries, ascii_uppercase, strict=False)
    ]
