"""From request bytes to stored rows: the one package with a thread and a clock.

opening      backend and spool opened, or the spool alone while the database is away
group_commit requests that arrive together share one sync
intake       decodes a request on the caller's thread and makes it durable
queue        what was accepted, in order, between intake and writer
writer       one thread: batches to the backend, again and again while that may help
delivery     one batch on its way to the backend
housekeeping what is old goes, and the spool is kept small
pipeline     all of it together: `Pipeline`
"""

from exporter.pipeline.pipeline import Pipeline

__all__ = ["Pipeline"]
