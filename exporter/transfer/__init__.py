"""Everything that one backend holds, copied into another.

A receiver that goes on at the new place computes the costs that it would have computed at the old
one: what cost arithmetic keeps between points goes along.

tables   how a row of each table becomes a value of the model
pages    a table read in pages, by time
cursors  how far each series that carries cost has come
ahead    the next page is read while one is written
copying  page after page into the other backend, resumable and idempotent
totals   what a day comes to, counted cheaply
checking counts and sums of both, by table and day
"""

from exporter.transfer.checking import Difference, differences
from exporter.transfer.copying import Progress, copy

__all__ = ["Difference", "Progress", "copy", "differences"]
