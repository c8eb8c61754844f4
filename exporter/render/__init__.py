"""Rendering: rows of the query module as tables, JSON and CSV. Pure; prints nothing."""

from exporter.render.streams import render_csv, render_json
from exporter.render.table import render_table

__all__ = ["render_csv", "render_json", "render_table"]
