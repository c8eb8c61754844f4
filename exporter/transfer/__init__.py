"""Copies all rows of one backend into another, and compares both afterwards.

row_decoders  rows of each table as values of the model
pages         tables and cost streams read in pages
copier        page after page into the other backend, resumable and idempotent
comparison    counts and sums of both, by table and day
"""

from exporter.transfer.comparison import Difference, differences
from exporter.transfer.copier import Progress, copy

__all__ = ["Difference", "Progress", "copy", "differences"]
