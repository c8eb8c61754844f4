"""FOCUS, the FinOps Open Cost and Usage Specification: cost entries to its rows and back; pure."""

from exporter.focus.columns import VERSIONS, FocusVersion, columns_of
from exporter.focus.exporting import Issuer, focus_row
from exporter.focus.importing import CostColumn, FocusRowError, cost_entry
from exporter.focus.numbering import RowIds

__all__ = [
    "VERSIONS",
    "CostColumn",
    "FocusRowError",
    "FocusVersion",
    "Issuer",
    "RowIds",
    "columns_of",
    "cost_entry",
    "focus_row",
]
