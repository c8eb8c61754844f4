"""FOCUS, the FinOps Open Cost and Usage Specification: cost entries to its rows and back; pure."""

from exporter.focus.cells import plain_decimal
from exporter.focus.export_rows import Issuer, entry_to_row
from exporter.focus.import_rows import CostColumn, FocusRowError, OddCell, row_ids, row_to_entry
from exporter.focus.restored_streams import RestoredStreams
from exporter.focus.specification import FocusVersion, columns_of

__all__ = [
    "CostColumn",
    "FocusRowError",
    "FocusVersion",
    "Issuer",
    "OddCell",
    "RestoredStreams",
    "columns_of",
    "entry_to_row",
    "plain_decimal",
    "row_ids",
    "row_to_entry",
]
