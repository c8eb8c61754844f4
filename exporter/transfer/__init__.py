"""Everything that one backend holds, copied into another.

Cost entries that were made of metrics are copied as they are, without the points that they were
made of: a receiver that goes on at the new place begins anew with the counters of costs.

tables   how a row of each table becomes a value of the model
pages    a table read in pages, by time
copying  page after page into the other backend, resumable and idempotent
checking counts and sums of both, by table and day
"""

from exporter.transfer.checking import Difference, differences
from exporter.transfer.copying import Progress, copy

__all__ = ["Difference", "Progress", "copy", "differences"]
