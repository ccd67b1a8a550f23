"""`python -m orchestrator.cli`: the command line where no script is installed; workers are started so."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
