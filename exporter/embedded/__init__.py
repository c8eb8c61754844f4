"""A pipeline inside a program of the user's own, for many processes side by side.

It never shares a spool with another process: each takes a file of its own, `<spool>.1`,
`<spool>.2` and so on, where `<spool>` is the receiver's (and for all but SQLite's default place a
hash of the database follows). A file that a process left with requests in it, because it was killed
or its database was away, is what the next process takes first, and a receiver looks for such files
too, so what was acknowledged is stored by whoever comes after.

slots     these files: where they are, and taking one
opening   what runs, opened and stopped
pipeline  `EmbeddedPipeline`
adopting  `OrphanReplayer`, a receiver's care for what was left in them
"""

from exporter.embedded.orphan_replayer import OrphanReplayer
from exporter.embedded.pipeline import EmbeddedPipeline

__all__ = ["EmbeddedPipeline", "OrphanReplayer"]
