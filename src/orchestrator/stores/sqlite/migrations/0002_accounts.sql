-- What counts over runs: slots, rates, and the lines of those who wait.
--
-- A slot lives as long as the lease that it was taken with, (run, path, epoch) of `queue`: the transaction that ends the
-- lease sweeps it out. `lines` are those who found no slot: `turn` is the place in line, or the time of a rate's turn.

CREATE TABLE slots (
    account TEXT NOT NULL,
    run INTEGER NOT NULL,
    path TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (account, run, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE lines (
    account TEXT NOT NULL,
    run INTEGER NOT NULL,
    path TEXT NOT NULL,
    turn INTEGER NOT NULL,
    most INTEGER NOT NULL,
    called_us INTEGER NOT NULL,
    PRIMARY KEY (account, run, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX lines_by_turn ON lines (account, turn);

-- `full_us`: when the bucket is full again; `line_us`: when the next one who comes may have its turn.
CREATE TABLE rates (
    account TEXT PRIMARY KEY,
    full_us INTEGER NOT NULL,
    line_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX rates_by_full ON rates (full_us);
