-- The first shape of the store.
--
-- Runs, their commits and queue rows refer to one another by small integers (`key`), not by run id: rows stay short,
-- and what is active at the same time lies together. Keys, commit ids and epochs come from `counters`, so that none is
-- ever used twice, whatever is deleted later.

CREATE TABLE counters (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    run_key INTEGER NOT NULL,
    journal_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    -- the latest time that any process has written by: no process's clock starts behind it
    clock_us INTEGER NOT NULL
) STRICT;

INSERT INTO counters (id, run_key, journal_id, epoch, clock_us) VALUES (1, 0, 0, 0, 0);

-- The index row of a run. `record` is the whole RunIndex as JSON; the columns are what lists filter and sort by.
CREATE TABLE runs (
    key INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    status TEXT NOT NULL,
    live INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    parent_run TEXT,
    search TEXT NOT NULL,
    record BLOB NOT NULL,
    summary BLOB NOT NULL
) STRICT;

-- with the text, so that a search without a hit reads this index and not the whole table
CREATE INDEX runs_by_time ON runs (namespace, created_us, search);
CREATE INDEX runs_by_workflow ON runs (namespace, workflow, created_us);
CREATE INDEX runs_by_workflow_status ON runs (namespace, workflow, status, created_us);
CREATE INDEX runs_by_status ON runs (namespace, status, created_us);
CREATE INDEX runs_by_parent ON runs (namespace, parent_run, created_us) WHERE parent_run IS NOT NULL;
CREATE INDEX runs_live ON runs (namespace, created_us) WHERE live = 1;

CREATE TABLE labels (
    namespace TEXT NOT NULL,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    run INTEGER NOT NULL,
    PRIMARY KEY (namespace, label, value, created_us, run)
) STRICT, WITHOUT ROWID;

CREATE INDEX labels_by_run ON labels (run);

-- One row a commit, in the order of all commits of the store. A run is at the `last_seq` of its last row; there is no
-- other place that says so. `events` holds `count` events: one as it is, several joined by line feeds, or, where an
-- event itself holds one, as a MessagePack array (`framed`). A commit without events has a row too: it is how a
-- repeated commit is known. `leases` is the JSON of what was granted.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    commit_id TEXT NOT NULL,
    framed INTEGER NOT NULL,
    leases BLOB,
    events BLOB NOT NULL
) STRICT;

CREATE INDEX journal_by_run ON journal (run, last_seq);

CREATE TABLE snapshots (
    run INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    blob_id TEXT NOT NULL,
    codec TEXT NOT NULL,
    data BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX blobs_by_run ON blobs (run, blob_id);

-- Runs that are held. Few, and mostly none: that is why they stand apart.
CREATE TABLE holds (run INTEGER PRIMARY KEY) STRICT;

-- A row is leased while it has a worker. `held` repeats the run's hold, so that a claim needs one index only.
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    queued_us INTEGER NOT NULL,
    due_us INTEGER NOT NULL,
    held INTEGER NOT NULL,
    worker TEXT,
    epoch INTEGER NOT NULL,
    leased_us INTEGER,
    lost INTEGER NOT NULL,
    note TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX queue_by_path ON queue (run, path);
CREATE INDEX queue_free ON queue (queue, priority, due_us) WHERE worker IS NULL AND held = 0;
CREATE INDEX queue_leased ON queue (worker) WHERE worker IS NOT NULL;

CREATE TABLE workers (
    worker TEXT PRIMARY KEY,
    -- the name of the operating system's lock that the worker's process holds
    process TEXT NOT NULL,
    seen_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    info BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workflows (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    current INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    UNIQUE (namespace, name)
) STRICT;

CREATE TABLE versions (
    workflow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    meaning TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    saved_us INTEGER NOT NULL,
    text BLOB NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (workflow, version),
    UNIQUE (workflow, meaning)
) STRICT;
