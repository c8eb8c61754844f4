"""FOCUS, the FinOps Open Cost and Usage Specification: cost entries to its rows and back; pure."""

from exporter.focus.columns import VERSIONS, FocusVersion, columns_of
from exporter.focus.exporting import Issuer, entry_to_row
from exporter.focus.importing import CostColumn, FocusRowError, row_to_entry
from exporter.focus.numbering import RowIdGenerator

__all__ = [
    "VERSIONS",
    "CostColumn",
    "FocusRowError",
    "FocusVersion",
    "Issuer",
    "RowIdGenerator",
    "columns_of",
    "entry_to_row",
    "row_to_entry",
]
