"""Pictures of figures as SVG text: one file each, no script, no font, light and dark."""

from pipeline.charts.line_chart import Line, line_chart

__all__ = ["Line", "line_chart"]
