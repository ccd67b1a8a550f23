-- The first shape of the store. It lives in a schema of its own, which is the first of the connection's search path.
--
-- Runs are known by a number (`key`): rows of the queue and the journal stay short. What changes with every commit of a
-- run is one narrow row in `heads`, changed in place (HOT: no index holds what changes, and the page has room); what
-- lists filter by stands apart in `runs`, and changes three times in a run's life.
--
-- Functions carry the number of their form: a release that needs another form adds one, and the one before it still
-- finds its own.

CREATE TABLE store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Added to the server's transaction numbers, which start again when the data is restored on another server.
    tx_offset bigint NOT NULL DEFAULT 0
);
INSERT INTO store DEFAULT VALUES;

CREATE TABLE heads (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text COLLATE "C" NOT NULL UNIQUE,
    namespace text COLLATE "C" NOT NULL,
    seq bigint NOT NULL DEFAULT 0,
    held boolean NOT NULL DEFAULT false,
    -- where its last commit stands in the feed
    tx bigint NOT NULL DEFAULT 0,
    -- who has the run to himself, and until when
    turn text NOT NULL DEFAULT '',
    turn_until_us bigint NOT NULL DEFAULT 0,
    summary bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- `record` is the whole index row as JSON; the columns are what lists filter and sort by.
CREATE TABLE runs (
    key bigint PRIMARY KEY,
    run_id text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    live boolean NOT NULL,
    created_us bigint NOT NULL,
    parent_run text COLLATE "C",
    labels jsonb NOT NULL,
    search text NOT NULL,
    record bytea NOT NULL
) WITH (fillfactor = 80);

CREATE INDEX runs_by_time ON runs (namespace, created_us DESC, run_id DESC);
CREATE INDEX runs_by_workflow ON runs (namespace, workflow, created_us DESC, run_id DESC);
CREATE INDEX runs_by_status ON runs (namespace, status, created_us DESC, run_id DESC);
CREATE INDEX runs_by_parent ON runs (namespace, parent_run, created_us DESC) WHERE parent_run IS NOT NULL;
CREATE INDEX runs_live ON runs (namespace, workflow, created_us DESC) WHERE live;
CREATE INDEX runs_by_label ON runs USING gin (labels jsonb_path_ops) WHERE labels <> '{}';

-- One row a commit. `events` holds `count` events: one as it is, several joined by line feeds, or, where an event itself
-- holds one, as a MessagePack array (`framed`). A commit without events has a row too: it is how a repeated commit is
-- known, with the leases that it was granted: all of its rows that asked for one, or those at the places of `granted`.
-- `tx` is the number of its transaction: feeds read in the order of (tx, id), and no further than all are over.
CREATE TABLE journal (
    id bigint GENERATED ALWAYS AS IDENTITY,
    run bigint NOT NULL,
    last_seq bigint NOT NULL,
    tx bigint NOT NULL,
    epoch bigint NOT NULL,
    count integer NOT NULL,
    framed boolean NOT NULL,
    granted integer[],
    commit_id text COLLATE "C" NOT NULL,
    events bytea NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE UNIQUE INDEX journal_by_run ON journal (run, last_seq, id);
CREATE INDEX journal_by_tx ON journal (tx, id);

CREATE TABLE blobs (
    run bigint NOT NULL,
    blob_id text COLLATE "C" NOT NULL,
    codec text NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (run, blob_id)
);

CREATE TABLE snapshots (run bigint PRIMARY KEY, seq bigint NOT NULL, data bytea NOT NULL);

CREATE TABLE workers (
    worker text COLLATE "C" PRIMARY KEY,
    seen_us bigint NOT NULL,
    expires_us bigint NOT NULL,
    info bytea NOT NULL
) WITH (fillfactor = 50);

CREATE SEQUENCE lease_epochs;

-- A row is leased while it has a worker; `held` repeats the run's hold, so that a claim never looks at heads; `ready`
-- says that it is due and put among the ready ones, by a commit or by a claim. A row is in at most one of the three
-- small indexes. The next task of a chain takes over the row of the one that ended, in its place on the page, so
-- that a table through which millions of tasks pass stays as small as what waits in it.
CREATE TABLE queue (
    run bigint NOT NULL,
    path text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    queue text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    queued_us bigint NOT NULL,
    due_us bigint NOT NULL,
    ready boolean NOT NULL,
    held boolean NOT NULL,
    worker text COLLATE "C",
    epoch bigint NOT NULL,
    leased_us bigint,
    lost integer NOT NULL DEFAULT 0,
    note text NOT NULL DEFAULT '',
    payload bytea NOT NULL,
    PRIMARY KEY (run, path)
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);
CREATE INDEX queue_ready ON queue (queue, priority DESC, due_us) WHERE ready AND NOT held AND worker IS NULL;
CREATE INDEX queue_delayed ON queue (queue, due_us) WHERE NOT ready AND NOT held AND worker IS NULL;
CREATE INDEX queue_leased ON queue (worker) WHERE worker IS NOT NULL;

-- Accounts: `slots` live with their lease, (run, path, epoch) of `queue`. `lines` are those who wait: `turn` is the place
-- in line, or the time of a rate's turn. The row in `accounts` is what everybody at one account locks first.
CREATE TABLE accounts (
    account text COLLATE "C" PRIMARY KEY,
    full_us bigint NOT NULL DEFAULT 0,
    line_us bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE slots (
    account text COLLATE "C" NOT NULL,
    run bigint NOT NULL,
    path text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (account, run, path)
);
CREATE INDEX slots_by_row ON slots (run, path);

CREATE TABLE lines (
    account text COLLATE "C" NOT NULL,
    run bigint NOT NULL,
    path text COLLATE "C" NOT NULL,
    turn bigint NOT NULL,
    most integer NOT NULL,
    called_us bigint NOT NULL,
    PRIMARY KEY (account, run, path)
) WITH (fillfactor = 70);
CREATE INDEX lines_by_turn ON lines (account, turn);

CREATE TABLE workflows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    folded text NOT NULL,
    current integer NOT NULL,
    deleted boolean NOT NULL,
    UNIQUE (namespace, name)
);

CREATE TABLE versions (
    workflow bigint NOT NULL,
    version integer NOT NULL,
    meaning text COLLATE "C" NOT NULL,
    created_us bigint NOT NULL,
    saved_us bigint NOT NULL,
    text bytea NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (workflow, version),
    UNIQUE (workflow, meaning)
);

CREATE TABLE cached (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    until_us bigint NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (namespace, key)
);
CREATE INDEX cached_by_time ON cached (until_us);

-- The store's clock, in microseconds since the epoch; a test brings its own.
CREATE FUNCTION clock_1(given_us bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT coalesce(given_us, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) $$;
