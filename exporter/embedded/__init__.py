"""A pipeline inside a program of the user, side by side with other processes that do the same.

Every process has a spool file of its own: `<spool>.1`, `<spool>.2` and so on, where `<spool>` is
the spool of the receiver. A process that is killed, or that ends while its database is down, leaves
its acknowledged requests in its file. The next process, or a receiver, stores them.

spool_slots      the spool files: their names, and how a process acquires one
pipeline         `EmbeddedPipeline`: opened on first use, closed before a fork
orphan_replayer  `OrphanReplayer`: the thread of a receiver that stores orphaned spool files
"""

from exporter.embedded.orphan_replayer import OrphanReplayer
from exporter.embedded.pipeline import EmbeddedPipeline

__all__ = ["EmbeddedPipeline", "OrphanReplayer"]
