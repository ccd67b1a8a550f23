"""The command line: `orchestrator dev | serve | worker | run | validate | nodes | runs ...`.

`app` and `runs` hold the commands as a person sees them: options, help, examples. What a command does stands in a
module of its own that is imported only when the command runs, so that `--help` answers at once and `run` starts fast.
Exit codes are in `exits`; the one place that turns errors into words and codes is `console.expected_errors`.
"""


def main() -> None:
    """The console script."""
    from orchestrator.cli import quickly

    quickly.begin()
    try:
        from orchestrator.cli.app import app
        from orchestrator.cli.travel import runs

        app.add_typer(runs)
        app(prog_name="orchestrator")
    except KeyboardInterrupt:  # before a command began
        raise SystemExit(130) from None
