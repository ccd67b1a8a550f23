"""Numbered migrations as every SQL store keeps them: what they are, and when a store must not be touched.

A file is `NNNN_name.sql`. Once released it is never edited: its checksum is kept in the database, and a file whose
checksum differs is refused. So is a database that knows a migration which this release doesn't. How a step is applied,
and who waits for whom, is the store's own.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from orchestrator.errors import StoreIncompatible


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from one shape of the data to the next."""

    number: int
    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """What the database remembers of the text."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


def bundled(package: str) -> list[Migration]:
    """The migrations of this release that lie in a package, in order."""
    found: list[Migration] = []
    for entry in resources.files(package).iterdir():
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def check_applied(
    applied: Iterable[tuple[int, str, str]], known: Sequence[Migration], *, place: str, elsewhere: str
) -> None:
    """Look whether this release may work on data that has had these migrations (number, name, checksum).

    Raises:
        StoreIncompatible: it is of a newer release, or a migration was changed after it ran.
    """
    by_number = {migration.number: migration for migration in known}
    for number, name, checksum in applied:
        migration = by_number.get(number)
        if migration is None:
            newest = max(by_number, default=0)
            raise StoreIncompatible(
                f"{place} belongs to a newer release: it has migration {number} ({name}), and this release knows up to "
                f"{newest}. Use the newer release, or {elsewhere} (this one was not touched)"
            )
        if migration.checksum != checksum:
            raise StoreIncompatible(
                f"migration {number} ({name}) of {place} is not the one of this release: its text was changed after it "
                "ran. Install the release that wrote it (it was not touched)"
            )
