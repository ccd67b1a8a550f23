"""Starting fast: `orchestrator run` is measured from the key press, and most of that is importing."""

import gc
import sys

_YOUNG_MAX = 100_000
"""Objects made before the collector looks for garbage. Python's 700 are made by a few tasks, whose objects are not
garbage but on their way: looking at them again and again took a tenth of a task's time."""


def begin() -> None:
    """Look for no garbage while modules are loaded: there is none, and looking takes a tenth of the time."""
    gc.disable()


def loaded() -> None:
    """Everything is imported: what is there now stays, so later looks pass it by, and are seldom."""
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, 20, 20)
    gc.enable()


def import_structlog() -> None:
    """Import structlog without rich.

    structlog imports rich, with all of its syntax highlighting, for tracebacks that our log doesn't show; that was a
    third of the time until a run began. Whoever wants rich afterwards gets it.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # pyright: ignore[reportArgumentType] (the documented way to make an import fail)
    try:
        import structlog  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        del sys.modules["rich"]
