"""Rows of the query module as tables, JSON and CSV. Pure: it returns texts and prints nothing."""

from exporter.render.cost_report import (
    CostReport,
    CurrencyReport,
    Share,
    render_report,
    render_report_html,
)
from exporter.render.quantities import format_amount, format_number, format_quantity
from exporter.render.row_formats import POINT_COLUMNS, export_row, render_csv, render_json
from exporter.render.stats_tables import (
    render_counts,
    render_receiver,
    render_sizes,
    render_sizes_json,
)
from exporter.render.table import render_table

__all__ = [
    "POINT_COLUMNS",
    "CostReport",
    "CurrencyReport",
    "Share",
    "export_row",
    "format_amount",
    "format_number",
    "format_quantity",
    "render_counts",
    "render_csv",
    "render_json",
    "render_receiver",
    "render_report",
    "render_report_html",
    "render_sizes",
    "render_sizes_json",
    "render_table",
]
