"""Turns: a writer that was refused often gets its run to itself for a moment. Where nobody has one it costs nothing."""

from orchestrator.stores.contract import TURN_US
from orchestrator.stores.sqlite.database import int_of
from orchestrator.stores.sqlite.transaction import RunRef, Transaction

_TAKE = "INSERT OR IGNORE INTO turns (run, writer, until_us) VALUES (?, ?, ?)"
_OTHERS = "SELECT 1 FROM turns WHERE run = ? AND writer <> ?"
_END = "DELETE FROM turns WHERE run = ? AND writer = ?"
_OVER = "DELETE FROM turns WHERE until_us <= ?"
_ANY = "SELECT count(*) FROM turns"


def look(tx: Transaction) -> None:
    """Forget the turns that are over. Called where there are turns, before anything else of a transaction."""
    tx.run(_OVER, (tx.now_us,))
    row = tx.one(_ANY)
    tx.turns = row is not None and int_of(row[0]) > 0


def take(tx: Transaction, run: RunRef, writer: str) -> None:
    """Give the run to a writer that was refused, unless somebody has it."""
    tx.run(_TAKE, (run.key, writer, tx.now_us + TURN_US))
    tx.turns = True


def is_others(tx: Transaction, run: RunRef, writer: str) -> bool:
    """Whether another writer has the run."""
    return tx.one(_OTHERS, (run.key, writer)) is not None


def end(tx: Transaction, run: RunRef, writer: str) -> None:
    """The writer's commit is accepted: its turn is over."""
    tx.run(_END, (run.key, writer))
