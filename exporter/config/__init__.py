"""From a configuration file, the environment and flags to frozen settings.

How a value travels: `document` reads the YAML and puts variables in (`references`); `components`
chooses what runs; `layers` checks each source on its own against `schema` and `values`, and lays
one over the other; `rules` looks at keys together; `settings` is what comes out, `table` shows it.
`loading` calls them in this order. Every mistake is put into words by `mistakes`, without secrets
(`connection`).
"""

from exporter.config.loading import load, load_dotenv_file, process_environment
from exporter.config.settings import (
    ExporterSettings,
    KeepaliveSettings,
    ReceiverSettings,
    Settings,
    TlsSettings,
    TokenSettings,
)
from exporter.config.table import as_table

__all__ = [
    "ExporterSettings",
    "KeepaliveSettings",
    "ReceiverSettings",
    "Settings",
    "TlsSettings",
    "TokenSettings",
    "as_table",
    "load",
    "load_dotenv_file",
    "process_environment",
]
