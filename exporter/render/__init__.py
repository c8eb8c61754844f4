"""Rendering: rows of the query module as tables, JSON and CSV. Pure; prints nothing."""

from exporter.render.cost_report import CostReport, CurrencyReport, Share, render_report
from exporter.render.cost_report_html import render_report_html
from exporter.render.money import format_amount
from exporter.render.quantities import format_number, format_quantity
from exporter.render.sizes import (
    render_counts,
    render_receiver,
    render_sizes,
    render_sizes_json,
)
from exporter.render.streams import render_csv, render_json
from exporter.render.table import render_table

__all__ = [
    "CostReport",
    "CurrencyReport",
    "Share",
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
