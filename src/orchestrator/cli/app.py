"""The commands as a person sees them. Their work stands in modules that are imported when a command runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.console import expected_errors, say

app = typer.Typer(
    name="orchestrator",
    help="Durable workflows whose nodes may be fixed stations or agents that decide.",
    epilog="Begin with:  orchestrator dev",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for scripts.")]
Store = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Where runs are kept [sqlite:///.orchestrator/store.db]."),
]
Nodes = Annotated[
    list[str] | None,
    typer.Option("--nodes", metavar="MODULE", help="Module or .py file with node classes; may be repeated."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file [orchestrator.toml, if there is one]."),
]
Host = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on [127.0.0.1]; another needs ORCHESTRATOR_API_KEY."),
]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on [8000]; 0 takes any free one.")]
LogFormat = Annotated[
    str | None, typer.Option("--log-format", metavar="text|json", help="How the log is written [text].")
]
LogLevel = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="From where on: debug, info, warning, error [info]."),
]
Concurrency = Annotated[int | None, typer.Option("--concurrency", help="Tasks at once in one worker [100].")]
Queues = Annotated[
    str | None,
    typer.Option("--queues", metavar="A,B", help="The queues whose tasks its workers take [default]."),
]


def _load(config: Path | None, nodes: list[str] | None, **flags: Any) -> Any:
    from orchestrator.cli.quickly import import_structlog

    import_structlog()
    from orchestrator.config import Settings

    return Settings.load(file=config, nodes=nodes or None, **flags)


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        say(f"orchestrator {metadata.version('agentic-orchestrator')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """What stands before a command."""


@app.command(epilog="\b\nExample:  orchestrator dev --nodes my_nodes.py --port 9000")
def dev(
    host: Host = None,
    port: Port = None,
    store: Store = None,
    nodes: Nodes = None,
    queues: Queues = None,
    examples: Annotated[
        bool, typer.Option("--examples/--no-examples", help="Save the example workflows into an empty store.")
    ] = True,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """API, page and worker in one process, for this machine.

    Node files are loaded again when they change. If the port is taken, the next free one is used; if this server runs
    there already with the same store, its address is printed and nothing is started.
    """
    with expected_errors(as_json=as_json):
        settings = _load(
            config,
            nodes,
            host=host,
            port=port,
            store=store,
            queues=queues,
            log_level=log_level,
            log_format=log_format,
            dev=True,
        )
        from orchestrator.cli import servers

        servers.dev(settings, examples=examples, as_json=as_json)


@app.command(epilog="\b\nExample:  orchestrator serve --workers 4 --log-format json")
def serve(
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option("--workers", min=0, max=256, help="Worker processes.")] = 1,
    store: Store = None,
    nodes: Nodes = None,
    queues: Queues = None,
    concurrency: Concurrency = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """API and page in one process, workers in others, so that no node can stop the API.

    A worker that dies is started again. SIGTERM or Ctrl-C lets what runs finish; a second one ends at once.
    """
    with expected_errors(as_json=as_json):
        settings = _load(
            config,
            nodes,
            host=host,
            port=port,
            store=store,
            queues=queues,
            concurrency=concurrency,
            log_level=log_level,
            log_format=log_format,
        )
        from orchestrator.cli import servers

        servers.serve(settings, workers=workers, as_json=as_json)


@app.command(
    epilog="\b\nExample:  orchestrator worker --store sqlite:////var/lib/store.db --queues default,gpu"
)
def worker(
    store: Store = None,
    nodes: Nodes = None,
    queues: Queues = None,
    concurrency: Concurrency = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: Config = None,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
    as_json: Json = False,
) -> None:
    """A worker alone: takes tasks from a store that others serve.

    Timers wait in the queue `default`: some worker must serve it.
    """
    with expected_errors(as_json=as_json):
        settings = _load(
            config,
            nodes,
            store=store,
            queues=queues,
            concurrency=concurrency,
            log_level=log_level,
            log_format=log_format,
        )
        from orchestrator.cli import servers

        servers.worker(settings, as_json=as_json, until_stdin_closes=until_stdin_closes)


@app.command(epilog="""\b\nExample:  orchestrator run onboarding.json --input '{"user_type": "standard"}'""")
def run(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="The workflow document, JSON or (.yaml, .yml) YAML; - reads JSON from stdin."
        ),
    ],
    given: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON|@FILE", help="The run's input, as JSON or from a file."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="A label of the run; may be repeated."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="Keep workflow and run there [only in memory]."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep them in the store of the settings, where `dev` shows them.")
    ] = False,
    nodes: Nodes = None,
    priority: Annotated[
        int, typer.Option("--priority", min=-100, max=100, help="Of the run, added to its nodes'.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run a workflow here and now; no server is needed.

    Steps and decisions are told on stderr as they happen, the run's output is printed on stdout (with --json the whole
    run). Exit code: 0 succeeded, 1 failed, 3 cancelled. Ctrl-C cancels the run.
    """
    with expected_errors(as_json=as_json):
        from orchestrator.cli.console import pairs, read_bytes, read_json, syntax_of

        document = read_bytes(file, what="FILE")
        value = read_json(given, option="--input") if given is not None else None
        labels = pairs(label or [], option="--label")
        settings = _load(config, nodes, store=store or (None if keep else "memory://"), log_level="warning")
        from orchestrator.cli import runner

        code = runner.run(
            document,
            settings,
            syntax=syntax_of(file),
            given=value,
            labels=labels,
            priority=priority,
            quiet=quiet,
            as_json=as_json,
        )
    raise typer.Exit(code)


@app.command(epilog="\b\nExample:  orchestrator validate examples/*.json")
def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Workflow documents, JSON or (.yaml, .yml) YAML; - reads JSON from stdin."
        ),
    ],
    nodes: Nodes = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say everything that is wrong with documents: the place, what is wrong, the nearest right thing.

    Exit code: 0 if none has a fault, else 1.
    """
    with expected_errors(as_json=as_json):
        settings = _load(config, nodes)
        from orchestrator.cli import library

        code = library.validate(files, settings, as_json=as_json)
    raise typer.Exit(code)


@app.command("import", epilog="\b\nExample:  orchestrator import exported.json --output workflow.json")
def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A workflow that n8n exported; - reads it from stdin.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the document there [stdout]."),
    ] = None,
    nodes: Nodes = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a document of a workflow that n8n exported, as far as there are classes, and list what isn't mapped.

    What isn't mapped stays in the document, where the check refuses it at its place. Exit code: 0 if the document can
    be saved as it is, else 1.
    """
    with expected_errors(as_json=as_json):
        settings = _load(config, nodes)
        from orchestrator.cli import importing

        code = importing.import_n8n(file, settings, output=output, as_json=as_json)
    raise typer.Exit(code)


@app.command("nodes", epilog="\b\nExample:  orchestrator nodes WaitNode")
def nodes_(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One class, with its parameters.")
    ] = None,
    nodes: Nodes = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The node classes that documents can use here."""
    with expected_errors(as_json=as_json):
        settings = _load(config, nodes)
        from orchestrator.cli import library

        library.nodes(name, settings, as_json=as_json)
