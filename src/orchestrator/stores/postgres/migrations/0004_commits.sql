-- Commits of many runs, each run once, in one round trip and one transaction.
--
-- The runs are locked (never waiting: a run that is in use is a conflict), then the queue rows that the commits speak of.
-- A loop decides what becomes of each commit, without a statement on its usual way, and what is accepted is written for
-- all of them at once. A statement after the locks has a snapshot that is newer than they are, so what it reads is true.
--
-- Everything comes in arrays. Of commits: `runs` to `summaries`. The others hold the parts of all commits one after
-- another, and `*_end` says where those of a commit end. `t_`: the queue rows that a commit speaks of, each once
-- ("touched"); leases `l_`, withdrawals `w_` and enqueued rows `e_` name theirs by its place. `e_spare` is a finished
-- lease's row whose place on the page a new row may take (0: none). `x_` index rows, `b_` blobs, `s_` snapshots, each with
-- the place of its commit. Arrays that are read by place hold no NULL: else finding a place takes a walk.
--
-- `outcome`: 0 written, 1 conflict, 2 fenced, 3 a repeat. `given` are the places of rows that were leased, `lost` those of
-- leases that were gone.
CREATE FUNCTION commit_1(
    turn_us bigint, call_us bigint, remembered integer, given_us bigint, names text[],
    runs text[], spaces text[], ids text[], who integer[], expect bigint[], hold integer[], turns text[],
    counts integer[], framed integer[], data bytea[], summaries bytea[],
    t_of integer[], t_path text[],
    l_end integer[], l_touch integer[], l_epoch bigint[], l_finish integer[],
    w_end integer[], w_touch integer[],
    e_end integer[], e_touch integer[], e_spare integer[], e_leased integer[], e_path text[], e_kind text[],
    e_queue text[], e_priority integer[], e_delay bigint[], e_payload bytea[],
    x_of integer[], x_run text[], x_space text[], x_workflow text[], x_status text[], x_live integer[], x_created bigint[],
    x_parent text[], x_labels text[], x_search text[], x_record bytea[],
    b_of integer[], b_id text[], b_codec text[], b_data bytea[],
    s_of integer[], s_data bytea[]
) RETURNS TABLE (
    outcome integer[], seqs bigint[], epochs bigint[], given integer[], lost integer[], woken text[], now_us bigint
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    n constant integer := cardinality(runs);
    m constant integer := cardinality(e_path);
    touched constant integer := cardinality(t_path);
    this_tx bigint;
    new_epoch bigint := 0;
    moment bigint;
    created text[] := '{}';
    alive boolean[];
    slots_used boolean;
    -- of commits
    h_at tid[]; k bigint[]; before bigint[]; was_held boolean[]; last_tx bigint[]; h_turn text[]; h_until bigint[];
    is_held boolean[] := array_fill(false, ARRAY[n]); turn_over boolean[] := is_held;
    partly text[];
    some_turn boolean; some_refused boolean := false;
    -- of touched rows; what ends: 0 stays, 1 ends, 2 its place is taken by a new row
    t_at tid[]; t_there boolean[]; t_epoch bigint[]; t_leased boolean[]; t_lost integer[];
    t_ends integer[] := array_fill(0, ARRAY[touched]); t_by integer[] := t_ends;
    -- of enqueued rows; what to do: 0 nothing, 1 a new row, 2 in the place of another
    e_do integer[] := array_fill(0, ARRAY[m]); e_who integer[] := e_do;
    e_at tid[] := array_fill('(0,0)'::tid, ARRAY[m]);
    e_run bigint[] := array_fill(0::bigint, ARRAY[m]);
    e_held boolean[] := array_fill(false, ARRAY[m]); e_lease boolean[] := e_held;
    some_new boolean := false; some_taken boolean := false;
    drop_at tid[] := '{}'; kept_at tid[] := '{}'; hold_runs bigint[] := '{}'; hold_to boolean[] := '{}'; lifted bigint[] := '{}';
    ended_run bigint[] := '{}'; ended_path text[] := '{}';
    i integer; j integer; t integer; f integer; l_lo integer := 1; w_lo integer := 1; e_lo integer := 1;
    wanted integer; places integer[];
    is_gone boolean; held_now boolean; lease_it boolean;
    found_key bigint; found_seq bigint; first_one record;
BEGIN
    outcome := array_fill(0, ARRAY[n]); seqs := array_fill(0::bigint, ARRAY[n]); epochs := seqs;
    given := '{}'; lost := '{}'; woken := '{}';

    IF 0 = ANY (expect) THEN
        WITH fresh AS (
            INSERT INTO heads (run_id, namespace)
            SELECT c.run, c.space FROM unnest(runs, spaces, expect) AS c (run, space, expected)
            WHERE c.expected = 0 ORDER BY c.run
            ON CONFLICT (run_id) DO NOTHING RETURNING run_id
        )
        SELECT coalesce(array_agg(run_id), '{}') INTO created FROM fresh;
    END IF;

    SELECT array_agg(s.at), array_agg(s.key), array_agg(s.seq), array_agg(s.held), array_agg(s.tx), array_agg(s.turn),
           array_agg(s.until_us), bool_or(s.until_us > 0 OR s.asks <> '')
    INTO h_at, k, before, was_held, last_tx, h_turn, h_until, some_turn
    FROM (
        SELECT coalesce(h.at, '(0,0)'::tid) AS at, coalesce(h.key, 0) AS key, coalesce(h.seq, 0) AS seq,
               coalesce(h.held, false) AS held, coalesce(h.tx, 0) AS tx, coalesce(h.turn, '') AS turn,
               coalesce(h.turn_until_us, 0) AS until_us, c.turn AS asks
        FROM unnest(runs, spaces, turns) WITH ORDINALITY AS c (run, space, turn, place)
        LEFT JOIN LATERAL (
            SELECT r.ctid AS at, r.key, r.seq, r.held, r.tx, r.turn, r.turn_until_us FROM heads r
            WHERE r.run_id = c.run AND r.namespace = c.space
            FOR NO KEY UPDATE SKIP LOCKED
        ) h ON true
        ORDER BY c.place
    ) s;

    -- KEY SHARE lets heartbeats pass, and holds back the end of the registration: no lease without an owner.
    SELECT array_agg(s.known) INTO alive FROM (
        SELECT w.worker IS NOT NULL AS known FROM unnest(names) WITH ORDINALITY AS a (name, place) LEFT JOIN LATERAL (
            SELECT r.worker FROM workers r WHERE r.worker = a.name FOR KEY SHARE
        ) w ON true
        ORDER BY a.place
    ) s;

    IF touched > 0 THEN
        SELECT array_agg(s.at), array_agg(s.there), array_agg(s.epoch), array_agg(s.leased), array_agg(s.lost)
        INTO t_at, t_there, t_epoch, t_leased, t_lost
        FROM (
            SELECT coalesce(q.at, '(0,0)'::tid) AS at, q.at IS NOT NULL AS there, coalesce(q.epoch, 0) AS epoch,
                   coalesce(q.leased, false) AS leased, coalesce(q.lost, 0) AS lost
            FROM unnest(t_of, t_path) WITH ORDINALITY AS a (nth, path, place) LEFT JOIN LATERAL (
                SELECT r.ctid AS at, r.epoch, r.worker IS NOT NULL AS leased, r.lost FROM queue r
                WHERE r.run = k[a.nth] AND r.path = a.path
                FOR UPDATE
            ) q ON true
            ORDER BY a.place
        ) s;
        slots_used := EXISTS (SELECT FROM slots);
    ELSE
        slots_used := false;
    END IF;

    -- after all waiting, and after the locks: no lease of these rows has a higher epoch
    moment := clock_1(given_us);
    IF m > 0 THEN
        new_epoch := nextval('lease_epochs');
    END IF;
    SELECT pg_current_xact_id()::text::bigint + s.tx_offset INTO this_tx FROM store s;

    <<commits>>
    FOR i IN 1 .. n LOOP
        l_lo := CASE WHEN i = 1 THEN 1 ELSE l_end[i - 1] + 1 END;
        w_lo := CASE WHEN i = 1 THEN 1 ELSE w_end[i - 1] + 1 END;
        e_lo := CASE WHEN i = 1 THEN 1 ELSE e_end[i - 1] + 1 END;
        found_key := k[i]; found_seq := before[i];
        IF found_key = 0 THEN
            SELECT h.key, h.seq INTO found_key, found_seq FROM heads h WHERE h.run_id = runs[i] AND h.namespace = spaces[i];
        END IF;

        -- first the id: a repeat finds its own lease finished, and its own events in the journal
        IF found_key > 0 AND (counts[i] = 0 OR expect[i] <> found_seq) THEN
            SELECT r.* INTO first_one FROM (
                SELECT g.last_seq, g.epoch, g.granted, g.commit_id FROM journal g
                WHERE g.run = found_key ORDER BY g.last_seq DESC, g.id DESC LIMIT remembered
            ) r WHERE r.commit_id = ids[i];
            IF FOUND THEN
                outcome[i] := 3; seqs[i] := first_one.last_seq; epochs[i] := first_one.epoch;
                IF first_one.epoch > 0 THEN
                    FOR j IN e_lo .. e_end[i] LOOP
                        IF e_leased[j] = 1
                            AND (first_one.granted IS NULL OR j - e_lo + 1 = ANY (first_one.granted))
                        THEN
                            given := given || j;
                        END IF;
                    END LOOP;
                END IF;
                CONTINUE;
            END IF;
        END IF;

        IF k[i] = 0 AND found_key > 0 THEN  -- in use
            outcome[i] := 1; seqs[i] := found_seq; some_refused := true;
            CONTINUE;
        END IF;
        IF k[i] = 0 OR (before[i] = 0 AND expect[i] <> 0) THEN  -- there is no such run
            some_refused := true;
            outcome[i] := CASE WHEN l_end[i] >= l_lo THEN 2 ELSE 1 END;
            FOR j IN l_lo .. l_end[i] LOOP
                lost := lost || j;
            END LOOP;
            CONTINUE;
        END IF;
        seqs[i] := before[i];
        IF last_tx[i] > this_tx THEN
            -- Our number was drawn before that of a transaction that has been here since: our events would stand before
            -- its in the feed. A new transaction has a new number.
            outcome[i] := 1; some_refused := true;
            CONTINUE;
        END IF;

        is_gone := false;
        FOR j IN l_lo .. l_end[i] LOOP
            t := l_touch[j];
            IF NOT t_leased[t] OR t_epoch[t] <> l_epoch[j] THEN
                lost := lost || j;
                is_gone := true;
            END IF;
        END LOOP;
        IF is_gone THEN
            outcome[i] := 2; some_refused := true;
            CONTINUE;
        END IF;
        IF expect[i] >= 0 AND (expect[i] <> before[i] OR (some_turn AND before[i] > 0)) THEN
            IF expect[i] <> before[i] THEN
                IF turns[i] <> '' AND h_until[i] <= moment THEN
                    UPDATE heads h SET turn = turns[i], turn_until_us = moment + turn_us WHERE h.key = k[i];
                END IF;
                outcome[i] := 1; some_refused := true;
                CONTINUE;
            END IF;
            IF h_until[i] > moment AND h_turn[i] <> turns[i] THEN
                outcome[i] := 1; some_refused := true;
                CONTINUE;
            END IF;
            turn_over[i] := turns[i] <> '' AND h_turn[i] = turns[i];
        END IF;

        -- accepted
        seqs[i] := before[i] + counts[i];
        FOR j IN l_lo .. l_end[i] LOOP
            t := l_touch[j];
            IF l_finish[j] = 1 THEN
                t_ends[t] := 1; t_leased[t] := false;
            ELSIF t_lost[t] > 0 THEN
                kept_at := kept_at || t_at[t];
            END IF;
        END LOOP;
        FOR j IN w_lo .. w_end[i] LOOP
            t := w_touch[j];
            IF t_there[t] THEN
                t_ends[t] := 1; t_leased[t] := false;
            END IF;
        END LOOP;
        held_now := CASE hold[i] WHEN 0 THEN false WHEN 1 THEN true ELSE was_held[i] END;
        is_held[i] := held_now;
        IF held_now <> was_held[i] THEN
            hold_runs := hold_runs || k[i]; hold_to := hold_to || held_now;
        END IF;
        IF hold[i] = 0 THEN
            lifted := lifted || k[i];
        END IF;
        wanted := 0; places := '{}';
        FOR j IN e_lo .. e_end[i] LOOP
            t := e_touch[j];
            wanted := wanted + e_leased[j];
            CONTINUE WHEN t_leased[t];
            lease_it := e_leased[j] = 1 AND NOT held_now AND who[i] > 0;
            IF lease_it THEN
                lease_it := alive[who[i]];
            END IF;
            f := t_by[t];
            IF f > 0 THEN  -- this commit has written it already, and nobody has it
                e_do[j] := e_do[f]; e_at[j] := e_at[f];
                e_do[f] := 0;
            ELSIF t_there[t] AND t_ends[t] < 2 THEN
                e_do[j] := 2; e_at[j] := t_at[t];
                IF slots_used AND t_ends[t] = 1 THEN
                    ended_run := ended_run || k[i]; ended_path := ended_path || e_path[j];
                END IF;
                t_ends[t] := 2;
            ELSE
                f := e_spare[j];
                IF f > 0 AND t_ends[f] = 1 THEN
                    e_do[j] := 2; e_at[j] := t_at[f]; t_ends[f] := 2;
                    IF slots_used THEN
                        ended_run := ended_run || k[i]; ended_path := ended_path || t_path[f];
                    END IF;
                ELSE
                    e_do[j] := 1;
                END IF;
            END IF;
            some_new := some_new OR e_do[j] = 1; some_taken := some_taken OR e_do[j] = 2;
            t_by[t] := j; t_leased[t] := lease_it;
            e_run[j] := k[i]; e_held[j] := held_now; e_who[j] := who[i]; e_lease[j] := lease_it;
            IF lease_it THEN
                given := given || j;
                epochs[i] := new_epoch;
                places := places || (j - e_lo + 1);
            END IF;
        END LOOP;
        IF epochs[i] > 0 AND cardinality(places) < wanted THEN
            IF partly IS NULL THEN
                partly := array_fill(''::text, ARRAY[n]);
            END IF;
            partly[i] := places::text;
        END IF;
        FOR j IN l_lo .. l_end[i] LOOP
            t := l_touch[j];
            IF t_ends[t] = 1 THEN
                drop_at := drop_at || t_at[t]; t_ends[t] := 3;
                IF slots_used THEN
                    ended_run := ended_run || k[i]; ended_path := ended_path || t_path[t];
                END IF;
            END IF;
        END LOOP;
        FOR j IN w_lo .. w_end[i] LOOP
            t := w_touch[j];
            IF t_ends[t] = 1 THEN
                drop_at := drop_at || t_at[t]; t_ends[t] := 3;
                IF slots_used THEN
                    ended_run := ended_run || k[i]; ended_path := ended_path || t_path[t];
                END IF;
            END IF;
        END LOOP;
    END LOOP;

    IF cardinality(drop_at) > 0 THEN
        DELETE FROM queue q WHERE q.ctid = ANY (drop_at);
    END IF;
    IF some_taken THEN
        UPDATE queue q SET
            path = e.path, kind = e.kind, queue = e.queue, priority = e.priority, queued_us = moment,
            due_us = moment + e.delay, ready = e.delay <= 0, held = e.held,
            worker = CASE WHEN e.lease THEN names[e.who] END, epoch = CASE WHEN e.lease THEN new_epoch ELSE 0 END,
            leased_us = CASE WHEN e.lease THEN moment END, lost = 0, note = '', payload = e.payload
        FROM unnest(e_do, e_at, e_path, e_kind, e_queue, e_priority, e_delay, e_held, e_lease, e_who, e_payload)
            AS e (todo, at, path, kind, queue, priority, delay, held, lease, who, payload)
        WHERE e.todo = 2 AND q.ctid = e.at;
    END IF;
    IF cardinality(kept_at) > 0 THEN
        UPDATE queue q SET lost = 0 WHERE q.ctid = ANY (kept_at);
    END IF;
    IF some_new THEN
        INSERT INTO queue (
            run, path, kind, queue, priority, queued_us, due_us, ready, held, worker, epoch, leased_us, payload)
        SELECT e.run, e.path, e.kind, e.queue, e.priority, moment, moment + e.delay, e.delay <= 0, e.held,
            CASE WHEN e.lease THEN names[e.who] END, CASE WHEN e.lease THEN new_epoch ELSE 0 END,
            CASE WHEN e.lease THEN moment END, e.payload
        FROM unnest(e_do, e_run, e_path, e_kind, e_queue, e_priority, e_delay, e_held, e_lease, e_who, e_payload)
            AS e (todo, run, path, kind, queue, priority, delay, held, lease, who, payload)
        WHERE e.todo = 1;
    END IF;
    IF cardinality(hold_runs) > 0 THEN
        UPDATE queue q SET held = c.held FROM unnest(hold_runs, hold_to) AS c (key, held)
        WHERE q.run = c.key AND q.held <> c.held;
    END IF;
    IF cardinality(lifted) > 0 THEN
        SELECT coalesce(array_agg(DISTINCT q.queue), '{}') INTO woken
        FROM queue q WHERE q.run = ANY (lifted) AND q.worker IS NULL;
    END IF;

    INSERT INTO journal (run, last_seq, tx, epoch, count, framed, granted, commit_id, events)
    SELECT c.key, c.seq, this_tx, c.epoch, c.count, c.framed = 1, nullif(c.partly, '')::integer[], c.id, c.data
    FROM unnest(outcome, k, seqs, epochs, counts, framed, partly, ids, data)
        AS c (outcome, key, seq, epoch, count, framed, partly, id, data)
    WHERE c.outcome = 0;
    UPDATE heads h SET
        seq = c.seq, held = c.held, tx = this_tx, summary = coalesce(c.summary, h.summary),
        turn_until_us = CASE WHEN c.turn_over THEN 0 ELSE h.turn_until_us END
    FROM unnest(outcome, h_at, seqs, is_held, turn_over, summaries) AS c (outcome, at, seq, held, turn_over, summary)
    WHERE c.outcome = 0 AND h.ctid = c.at;

    IF cardinality(x_of) > 0 THEN
        INSERT INTO runs AS r (
            key, run_id, namespace, workflow, status, live, created_us, parent_run, labels, search, record)
        SELECT k[x.nth], x.run, x.space, x.workflow, x.status, x.live = 1, x.created, x.parent, x.labels::jsonb, x.search,
            x.record
        FROM unnest(
            x_of, x_run, x_space, x_workflow, x_status, x_live, x_created, x_parent, x_labels, x_search, x_record
        ) AS x (nth, run, space, workflow, status, live, created, parent, labels, search, record)
        WHERE outcome[x.nth] = 0
        ON CONFLICT (key) DO UPDATE SET
            workflow = excluded.workflow, status = excluded.status, live = excluded.live, created_us = excluded.created_us,
            parent_run = excluded.parent_run, labels = excluded.labels, search = excluded.search, record = excluded.record;
    END IF;
    IF cardinality(b_of) > 0 THEN
        INSERT INTO blobs (run, blob_id, codec, data)
        SELECT k[b.nth], b.id, b.codec, b.data FROM unnest(b_of, b_id, b_codec, b_data) AS b (nth, id, codec, data)
        WHERE outcome[b.nth] = 0
        ON CONFLICT (run, blob_id) DO NOTHING;
    END IF;
    IF cardinality(s_of) > 0 THEN
        INSERT INTO snapshots (run, seq, data)
        SELECT k[s.nth], seqs[s.nth], s.data FROM unnest(s_of, s_data) AS s (nth, data) WHERE outcome[s.nth] = 0
        ON CONFLICT (run) DO UPDATE SET seq = excluded.seq, data = excluded.data;
    END IF;
    IF some_refused AND cardinality(created) > 0 THEN
        DELETE FROM heads h WHERE h.run_id = ANY (created) AND h.seq = 0;
    END IF;
    IF cardinality(ended_run) > 0 THEN
        woken := woken || end_slots_1(ended_run, ended_path, moment, call_us);
    END IF;
    now_us := moment;
    RETURN NEXT;
END $$;
