"""`refold load`: a source into a workspace."""

import dataclasses
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from replay.history import catalogue
from storage.ingest import loader, payload_decoders, sources
from storage.ingest.loader import LoadOptions, LoadResult
from storage.ingest.mapping import FieldMapping
from storage.plural import format_count
from tui.cli.support import config_file, options, output, progress_display, source_follower
from tui.cli.support.config_schema import DeclaredSource
from tui.text.sanitize import sanitize_line


@click.command(epilog=options.example("refold load orders.jsonl -o shop.refold"))
@click.argument("source", nargs=-1, required=True, metavar="SOURCE…")
@click.option(
    "-o", "--output", "target", metavar="FILE", help="The workspace; default: beside SOURCE."
)
@click.option(
    "--format",
    "form",
    metavar="F",
    help="jsonl, json, csv, parquet, arrow, xes; default: detected.",
)
@click.option(
    "--map", "pairs", metavar="FIELD=COLUMN", multiple=True, help="Override the mapping of a field."
)
@click.option(
    "--decode",
    "decoders",
    metavar="FIELD=HOW",
    multiple=True,
    help="Unpack data or meta: base64, hex, gzip, zlib, zstd, snappy, msgpack, yaml, avro:SCHEMA,"
    " protobuf:SET:MESSAGE, python:FILE.py:function; join several with + (base64+gzip).",
)
@click.option(
    "--redact",
    "redacted",
    metavar="PATH",
    multiple=True,
    help="Replace a value by a keyed hash: data.email, meta.user, stream.",
)
@click.option("--order-by", metavar="FIELD", help="Order the events by a field instead of by line.")
@click.option("--strict", is_flag=True, help="Load nothing if a line is rejected.")
@click.option("--replace", is_flag=True, help="Load everything again instead of appending.")
@click.option(
    "--follow",
    is_flag=True,
    help="Keep loading new events until Ctrl+C; broken lines don't stop it.",
)
@click.option("--beside", type=int, hidden=True, help="Follow for as long as this process lives.")
@options.python_option
@options.wait_option
@options.json_option
def load(
    source: tuple[str, ...],
    target: str | None,
    form: str | None,
    pairs: tuple[str, ...],
    decoders: tuple[str, ...],
    redacted: tuple[str, ...],
    order_by: str | None,
    strict: bool,
    replace: bool,
    follow: bool,
    beside: int | None,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Load a source, or append what is new in it.

    SOURCE is one or several files, patterns or links, or - for standard input. Loading the same
    source again appends its new events.
    """
    fields, decoded = options.parse_pairs(pairs), options.parse_pairs(decoders, "--decode")
    declared = config_file.find_declared_source(source[0]) if len(source) == 1 else None
    path = Path(target) if target else _default_workspace(source[0], declared)
    readable = options.readable_folders()
    if declared is not None:
        # Options override the declaration in refold.toml.
        declared_code = {f: how for f, how in declared.decode.items() if f not in decoded}
        if readable is None and payload_decoders.list_user_code(declared_code):
            readable = (str(Path.cwd()),)  # the file may come from a stranger
        fields, decoded = {**declared.map, **fields}, {**declared.decode, **decoded}
        source, redacted = tuple(declared.names), (*declared.redact, *redacted)
        form, order_by = form or declared.format, order_by or declared.order_by
    streams = {name for name in source if sources.is_stream(name)}
    if follow and streams:
        raise click.UsageError(
            "Standard input can't be followed, because it can be read only once."
        )
    runs_code = bool(payload_decoders.list_user_code(decoded))
    unpackers = _decoder_factory(python, readable) if runs_code else None
    load_options = LoadOptions(
        form, fields, decoded, redacted, order_by, strict, replace, wait, unpackers
    )
    with progress_display.load_bar(" ".join(map(sources.stored_name, source))) as progress:
        loaded = loader.load_source(
            source,
            path,
            load_options,
            on_progress=progress,
            on_mapping=_print_mapping,
            on_wait=progress_display.print_waiting,
        )
    if loaded.undecoded_count:
        payloads = format_count(loaded.undecoded_count, "payload")
        progress_display.print_message(
            f"{payloads} can't be decoded with --decode; refold kept them as stored."
        )
    for oddity in loaded.log.describe_oddities():
        progress_display.print_message(oddity)
    if not loaded.log.events:
        progress_display.print_message(
            f"No event was loaded from {' '.join(map(sources.stored_name, source))}."
        )
    if as_json:
        output.print_document(_result_document(loaded))
    else:
        _print_result(loaded, shows_next_step=source[0] not in streams)
    if follow:
        again = dataclasses.replace(load_options, replace=False)
        source_follower.follow_source(source, path, again, _print_appended, beside=beside)


def _decoder_factory(
    python: str | None, readable: tuple[str, ...] | None
) -> payload_decoders.DecoderFinder:
    """Return the finder of decoder functions; its workers end when the command ends."""
    from replay.worker_host.decoder_worker import DecoderWorkers  # noqa: PLC0415 - only --decode python: needs a worker

    unpackers = DecoderWorkers(python or catalogue.default_python(), Path.cwd(), readable)
    click.get_current_context().call_on_close(unpackers.close)
    return unpackers


def _print_appended(loaded: LoadResult) -> None:
    progress_display.print_message(
        f"{format_count(loaded.appended, 'new event')}, {loaded.events:,} in all."
    )


def _default_workspace(name: str, declared: DeclaredSource | None) -> Path:
    return loader.choose_default_target(name) if declared is None else Path(f"{name}.refold")


def _print_mapping(mapping: FieldMapping, form: str) -> None:
    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for field, column, why in mapping.describe_fields():
        shown.add_row(
            field, Text(sanitize_line(column), style="bold"), Text(sanitize_line(why), style="dim")
        )
    progress_display.print_message(
        f"{form}; the fields of an event come from these columns (change them with --map):"
    )
    progress_display.console.print(shown)
    if mapping.envelope_names:
        newest = "; the source lists its newest record first" if mapping.is_newest_first else ""
        progress_display.print_message(f"Their order is {mapping.order_description}{newest}.")


def _result_document(loaded: LoadResult) -> dict[str, object]:
    return {
        "workspace": str(loaded.workspace),
        "events": loaded.log.events,
        "appended": loaded.appended,
        "rejected": loaded.log.rejected,
        "streams": loaded.log.streams,
        "types": loaded.log.types,
        "format": loaded.format,
        "mapping": {f: s.column_text for f, s in loaded.mapping.fields.items()},
        "first_time": output.iso_time(loaded.log.first_time),
        "last_time": output.iso_time(loaded.log.last_time),
        "seconds": round(loaded.seconds, 3),
    }


def _print_result(loaded: LoadResult, *, shows_next_step: bool) -> None:
    log = loaded.log
    new = f"{format_count(loaded.appended, 'new event')}, " if loaded.appended != log.events else ""
    click.echo(
        f"{loaded.workspace}: {new}{format_count(log.events, 'event')} in {format_count(log.streams, 'stream')}"
        f" ({loaded.seconds:.1f} s)"
    )
    output.print_table(("type", "events"), log.types.items(), right=("events",))
    if shows_next_step:
        progress_display.print_message(f"Next: refold open {loaded.workspace} -p PROJECTION.py")
