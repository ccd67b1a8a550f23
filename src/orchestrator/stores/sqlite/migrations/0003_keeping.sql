-- Turns and cached outputs.
--
-- `turns`: who has a run to himself for a moment, because he was refused often. Few, and mostly none.

CREATE TABLE turns (
    run INTEGER PRIMARY KEY,
    writer TEXT NOT NULL,
    until_us INTEGER NOT NULL
) STRICT;

CREATE TABLE cached (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    until_us INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX cached_by_key ON cached (namespace, key);
CREATE INDEX cached_by_time ON cached (until_us);
