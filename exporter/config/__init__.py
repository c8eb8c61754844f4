"""From a configuration file, the environment and flags to frozen settings.

The path of a value: `yaml_document` reads the file and substitutes variables; `component_selection`
chooses what runs; `layers` validates each source against `schema` (keys) and `parsers` (values) and
merges them; `constraints` checks keys against each other; `settings` is the result. `loading` calls
them in this order. `validation_errors` words the errors, without secrets (`connection_string`).
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

__all__ = [
    "ExporterSettings",
    "KeepaliveSettings",
    "ReceiverSettings",
    "Settings",
    "TlsSettings",
    "TokenSettings",
    "load",
    "load_dotenv_file",
    "process_environment",
]
