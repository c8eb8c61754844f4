"""The OTLP/gRPC receiver: who may send, bytes to `submit`, errors to status codes.

How a request goes: `gate` decides on its headers (`tokens`, `counts`), `deadlines` waits for its
message, `export` hands it to `submit` and puts the outcome into words (`replies`). `health` answers
probes beside it. `server` puts these together; `tls` and `pem` are about certificates, `addresses`
about ports, `workers` says how many threads there are, and `probe` is a client.
"""

from exporter.receiver.limiter import ReceiverCounts
from exporter.receiver.server import Receiver
from exporter.receiver.tls import Certificates
from exporter.receiver.tokens import BearerTokens
from exporter.receiver.workers import workers_for

__all__ = ["BearerTokens", "Certificates", "Receiver", "ReceiverCounts", "workers_for"]
