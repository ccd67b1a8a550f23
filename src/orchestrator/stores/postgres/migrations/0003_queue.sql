-- Claims, leases and the registrations of workers. None of these looks at heads to lock them, and all of them pass over
-- rows that are in use: they never wait for a commit.

-- Lease up to `take` due rows. The last row of the answer has no run: it tells the time, and when the next row falls due.
--
-- Rows that have fallen due are first put among the ready ones, at most `promote` in a call. (With one index over
-- priority and due time a claim would read past every high-priority row that is due next month.)
CREATE FUNCTION claim_1(given_us bigint, who text, queues text[], take integer, promote integer)
RETURNS TABLE (
    namespace text, run_id text, path text, kind text, queue text, priority integer, epoch bigint, queued_us bigint,
    due_us bigint, lost integer, payload bytea, now_us bigint, next_due_us bigint
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    moment bigint;
BEGIN
    -- KEY SHARE lets heartbeats pass, and holds back the end of the registration: no lease without an owner.
    PERFORM FROM workers w WHERE w.worker = who FOR KEY SHARE;
    moment := clock_1(given_us);
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, 0, 0::bigint, 0::bigint, 0::bigint, 0,
            NULL::bytea, moment, NULL::bigint;
        RETURN;
    END IF;
    UPDATE queue q SET ready = true FROM (
        SELECT r.ctid AS at FROM unnest(queues) AS n (name), LATERAL (
            SELECT d.ctid FROM queue d
            WHERE d.queue = n.name AND NOT d.ready AND NOT d.held AND d.worker IS NULL AND d.due_us <= moment
            ORDER BY d.due_us LIMIT promote FOR UPDATE SKIP LOCKED) r) due
    WHERE q.ctid = due.at;
    RETURN QUERY
    WITH best AS MATERIALIZED (
        -- the best of each queue are locked in the order of its index; those not chosen are free again in a moment
        SELECT r.* FROM unnest(queues) AS n (name), LATERAL (
            SELECT d.ctid AS at, d.run, d.path, d.priority, d.due_us FROM queue d
            WHERE d.queue = n.name AND d.ready AND NOT d.held AND d.worker IS NULL
            ORDER BY d.priority DESC, d.due_us LIMIT take FOR UPDATE SKIP LOCKED) r
    ), chosen AS (
        SELECT b.at FROM best b ORDER BY b.priority DESC, b.due_us, b.run, b.path LIMIT take
    ), leased AS (
        -- the epoch is drawn after the row is locked: so it is higher than any before it for this row
        UPDATE queue q SET worker = who, epoch = nextval('lease_epochs'), leased_us = moment, note = ''
        FROM chosen c WHERE q.ctid = c.at
        RETURNING q.*
    )
    SELECT h.namespace, h.run_id, l.path, l.kind, l.queue, l.priority, l.epoch, l.queued_us, l.due_us, l.lost, l.payload,
        moment, NULL::bigint
    FROM leased l JOIN heads h ON h.key = l.run
    ORDER BY l.priority DESC, l.due_us, l.run, l.path;
    RETURN QUERY
    SELECT NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, 0, 0::bigint, 0::bigint, 0::bigint, 0, NULL::bytea, moment,
        min(s.due_us)
    FROM unnest(queues) AS n (name), LATERAL (
        SELECT d.due_us FROM queue d
        WHERE d.queue = n.name AND NOT d.ready AND NOT d.held AND d.worker IS NULL AND d.due_us > moment
        ORDER BY d.due_us LIMIT 1) s;
END $$;

-- Give leases back. `busy` are the places of those whose rows are in use at this moment: to be asked for again.
CREATE FUNCTION release_1(
    given_us bigint, who text, runs text[], paths text[], epochs bigint[], delay_us bigint, why text, call_us bigint
) RETURNS TABLE (busy integer[], woken text[]) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    moment bigint := clock_1(given_us);
    found_at tid[];
    found_place integer[];
    freed_run bigint[];
    freed_path text[];
BEGIN
    SELECT coalesce(array_agg(f.at), '{}'), coalesce(array_agg(f.place), '{}') INTO found_at, found_place FROM (
        SELECT q.ctid AS at, l.place FROM unnest(runs, paths, epochs) WITH ORDINALITY AS l (run, path, epoch, place)
            JOIN heads h ON h.run_id = l.run
            JOIN queue q ON q.run = h.key AND q.path = l.path AND q.epoch = l.epoch AND q.worker = who
        FOR UPDATE OF q SKIP LOCKED) f;
    SELECT coalesce(array_agg(l.place), '{}') INTO busy
    FROM unnest(runs, paths, epochs) WITH ORDINALITY AS l (run, path, epoch, place)
        JOIN heads h ON h.run_id = l.run
        JOIN queue q ON q.run = h.key AND q.path = l.path AND q.epoch = l.epoch AND q.worker = who
    WHERE l.place <> ALL (found_place);
    WITH freed AS (
        UPDATE queue q SET worker = NULL, leased_us = NULL, due_us = moment + delay_us, ready = delay_us <= 0, note = why
        WHERE q.ctid = ANY (found_at)
        RETURNING q.run, q.path, q.queue, q.held
    )
    SELECT coalesce(array_agg(DISTINCT f.queue) FILTER (WHERE NOT f.held), '{}'), array_agg(f.run), array_agg(f.path)
    INTO woken, freed_run, freed_path FROM freed f;
    IF EXISTS (SELECT FROM slots) THEN
        woken := woken || end_slots_1(freed_run, freed_path, moment, call_us);
    END IF;
    RETURN NEXT;
END $$;

-- End a registration and free its leases: always, or only if its time is over. `done` is false if a row of it is in
-- use at this moment, and then nothing was changed.
CREATE FUNCTION forget_1(given_us bigint, who text, was_lost boolean, only_expired boolean, call_us bigint)
RETURNS TABLE (done boolean, known boolean, woken text[]) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    moment bigint := clock_1(given_us);
    found_at tid[];
    freed_run bigint[];
    freed_path text[];
BEGIN
    woken := '{}';
    PERFORM FROM workers w WHERE w.worker = who AND (NOT only_expired OR w.expires_us <= moment) FOR UPDATE SKIP LOCKED;
    known := FOUND;
    IF NOT known THEN
        done := NOT EXISTS (SELECT FROM workers w WHERE w.worker = who) OR only_expired;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT coalesce(array_agg(f.at), '{}') INTO found_at FROM (
        SELECT q.ctid AS at FROM queue q WHERE q.worker = who FOR UPDATE SKIP LOCKED) f;
    done := cardinality(found_at) = (SELECT count(*) FROM queue q WHERE q.worker = who);
    IF NOT done THEN
        known := false;
        RETURN NEXT;
        RETURN;
    END IF;
    DELETE FROM workers w WHERE w.worker = who;
    WITH freed AS (
        UPDATE queue q SET worker = NULL, leased_us = NULL, lost = q.lost + was_lost::integer, ready = q.due_us <= moment
        WHERE q.ctid = ANY (found_at)
        RETURNING q.run, q.path, q.queue, q.held
    )
    SELECT coalesce(array_agg(DISTINCT f.queue) FILTER (WHERE NOT f.held), '{}'), array_agg(f.run), array_agg(f.path)
    INTO woken, freed_run, freed_path FROM freed f;
    IF EXISTS (SELECT FROM slots) THEN
        woken := woken || end_slots_1(freed_run, freed_path, moment, call_us);
    END IF;
    RETURN NEXT;
END $$;
