"""Rendering: rows of the query module as tables, JSON and CSV. Pure; prints nothing."""

from exporter.render.quantities import human, number
from exporter.render.sizes import (
    render_counts,
    render_receiver,
    render_sizes,
    render_sizes_json,
)
from exporter.render.streams import render_csv, render_json
from exporter.render.table import render_table

__all__ = [
    "human",
    "number",
    "render_counts",
    "render_csv",
    "render_json",
    "render_receiver",
    "render_sizes",
    "render_sizes_json",
    "render_table",
]
