"""The OTLP/gRPC receiver: authenticates, limits, hands bytes to `submit`, answers with a status.

server             `Receiver`: listens, and puts the parts below together
admission          accepts or refuses a request by its headers, before its message is received
tokens             bearer tokens
message_timeout    receives the message of a request, within a time limit
export             the OTLP services: message to `submit`, outcome to a status
refusals           status codes, messages and RetryInfo
health             the gRPC health service
probe              a client of the health service
file_watch         notices that certificate and token files have changed
address_check      checks that an endpoint is free
tls                server and client credentials, reloaded when the files change
certificate_files  reads certificates and keys, and verifies them in a handshake
"""

from exporter.receiver.server import Receiver, workers_for
from exporter.receiver.tls import Certificates
from exporter.receiver.tokens import BearerTokens

__all__ = ["BearerTokens", "Certificates", "Receiver", "workers_for"]
