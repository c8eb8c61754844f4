"""All commands, and how their errors are shown."""

from __future__ import annotations

import platform
import sqlite3
import sys
from importlib import metadata
from io import TextIOWrapper
from typing import Annotated, Final

import grpc
import typer

from exporter.cli import output
from exporter.cli.check import check
from exporter.cli.cleanup import cleanup
from exporter.cli.demo import demo
from exporter.cli.export import app as export_app
from exporter.cli.health import health
from exporter.cli.import_focus import app as import_app
from exporter.cli.migrate import migrate
from exporter.cli.query import app as query_app
from exporter.cli.report import report
from exporter.cli.serve import serve
from exporter.cli.stats import stats
from exporter.errors import ExporterError

_DISTRIBUTION: Final = "openfinops-otel-exporter"

app: Final = typer.Typer(
    name="openfinops-exporter",
    help="Receives OpenTelemetry metrics over OTLP/gRPC, stores them in a database, and reads "
    "them back.\n\nNew here? Run `openfinops-exporter demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)
app.command()(demo)
app.command()(check)
app.command()(health)
app.add_typer(query_app, name="query")
app.command()(report)
app.add_typer(export_app, name="export")
app.add_typer(import_app, name="import")
app.command()(stats)
app.command()(cleanup)
app.command()(migrate)


def run() -> int:
    """Run the command that the process arguments name.

    Returns:
        1 after an error was printed on stderr, else 0.
    """
    # Names and attributes may hold any Unicode character, which not every terminal can show.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name=app.info.name)
    except ExporterError as error:
        output.print_error(str(error))
        return 1
    return 0


@app.command()
def version() -> None:
    """Show the version of this program, of Python and of its main libraries."""
    try:
        number = metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        number = "(not installed)"
    libraries = (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"gRPC {grpc.__version__}"
    )
    output.print_data([f"openfinops-exporter {number} ({libraries})\n"])


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if asked:
        version()
        raise typer.Exit


@app.callback()
def _main(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del show_version
