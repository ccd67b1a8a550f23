-- Accounts: taking slots and turns, and calling the next in line when leases end.
--
-- Who waits for whom: a queue row first, then accounts in the order of their names; whoever has an account passes over
-- locked queue rows. So nothing can wait in a circle.

-- The slots of leases that ended in this transaction end, and those who are next are called. Gives the queues to wake.
CREATE FUNCTION end_slots_1(ended_run bigint[], ended_path text[], now_us bigint, call_us bigint)
RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    name text;
    taken bigint;
    waiter record;
    woken text[] := '{}';
BEGIN
    FOR name IN
        SELECT DISTINCT s.account FROM unnest(ended_run, ended_path) AS e (run, path)
            JOIN slots s ON s.run = e.run AND s.path = e.path
        WHERE NOT EXISTS (
            SELECT FROM queue q
            WHERE q.run = s.run AND q.path = s.path AND q.epoch = s.epoch AND q.worker IS NOT NULL)
        ORDER BY 1
    LOOP
        PERFORM FROM accounts a WHERE a.account = name FOR UPDATE;
        DELETE FROM slots s WHERE s.account = name AND NOT EXISTS (
            SELECT FROM queue q
            WHERE q.run = s.run AND q.path = s.path AND q.epoch = s.epoch AND q.worker IS NOT NULL);
        DELETE FROM lines l WHERE l.account = name AND NOT EXISTS (
            SELECT FROM queue q WHERE q.run = l.run AND q.path = l.path);
        SELECT (SELECT count(*) FROM slots s WHERE s.account = name)
             + (SELECT count(*) FROM lines l WHERE l.account = name AND l.called_us > now_us - call_us)
            INTO taken;
        FOR waiter IN
            SELECT l.run, l.path, l.most, q.queue FROM lines l, LATERAL (
                SELECT r.queue FROM queue r
                WHERE r.run = l.run AND r.path = l.path AND r.worker IS NULL AND NOT r.held
                FOR UPDATE SKIP LOCKED) q
            WHERE l.account = name AND l.called_us <= now_us - call_us
            ORDER BY l.turn
        LOOP
            EXIT WHEN taken >= waiter.most;
            UPDATE lines l SET called_us = now_us
            WHERE l.account = name AND l.run = waiter.run AND l.path = waiter.path;
            UPDATE queue q SET due_us = least(q.due_us, now_us), ready = true
            WHERE q.run = waiter.run AND q.path = waiter.path;
            woken := woken || waiter.queue;
            taken := taken + 1;
        END LOOP;
    END LOOP;
    RETURN woken;
END $$;

-- A slot or a start of each account for a leased row, or the row back in the queue. `outcome`: 0 granted, 1 waits,
-- 2 fenced. Arrays have one item for each limit; `slots_most` is 0 where a rate counts.
CREATE FUNCTION acquire_1(
    given_us bigint, who text, the_run text, the_path text, the_epoch bigint,
    names text[], titles text[], slots_most integer[], rates bigint[], pers bigint[], rate_notes text[],
    wait_us bigint, call_us bigint, notes_shown integer
) RETURNS TABLE (outcome integer, woken text[]) LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    row_of queue;
    now_us bigint;
    name text;
    i integer;
    others text[];
    called bigint;
    bucket accounts;
    every_us bigint;
    earliest bigint;
    known_turn bigint;
    the_turn bigint;
    delay bigint := -1;
    why text;
BEGIN
    woken := '{}';
    SELECT q.* INTO row_of FROM queue q JOIN heads h ON h.key = q.run
    WHERE h.run_id = the_run AND q.path = the_path AND q.epoch = the_epoch AND q.worker = who FOR UPDATE OF q;
    IF NOT FOUND THEN
        outcome := 2;
        RETURN NEXT;
        RETURN;
    END IF;
    FOR name IN SELECT n FROM unnest(names) n ORDER BY n LOOP
        -- an update of nothing locks the row, whoever made it
        INSERT INTO accounts AS a (account) VALUES (name) ON CONFLICT (account) DO UPDATE SET line_us = a.line_us;
    END LOOP;
    now_us := clock_1(given_us);
    FOR i IN 1 .. cardinality(names) LOOP
        name := names[i];
        CONTINUE WHEN EXISTS (
            SELECT FROM slots s
            WHERE s.account = name AND s.run = row_of.run AND s.path = the_path AND s.epoch = the_epoch);
        IF slots_most[i] > 0 THEN
            SELECT coalesce(array_agg(h.run_id ORDER BY h.run_id), '{}') INTO others
            FROM slots s JOIN queue q ON q.run = s.run AND q.path = s.path AND q.epoch = s.epoch JOIN heads h ON h.key = s.run
            WHERE s.account = name AND q.worker IS NOT NULL AND NOT (s.run = row_of.run AND s.path = the_path);
            SELECT count(*) INTO called FROM lines l JOIN queue q ON q.run = l.run AND q.path = l.path
            WHERE l.account = name AND l.called_us > now_us - call_us
                AND NOT (l.run = row_of.run AND l.path = the_path);
            CONTINUE WHEN cardinality(others) + called < slots_most[i];
            INSERT INTO lines AS l (account, run, path, turn, most, called_us)
            SELECT name, row_of.run, the_path, coalesce(max(x.turn), 0) + 1, slots_most[i], -call_us
            FROM lines x WHERE x.account = name
            ON CONFLICT (account, run, path) DO UPDATE SET most = excluded.most, called_us = excluded.called_us;
            delay := wait_us;
            why := slot_note_1(titles[i], slots_most[i], others, notes_shown);
        ELSE
            every_us := greatest(1, pers[i] / rates[i]);
            SELECT * INTO bucket FROM accounts a WHERE a.account = name;
            earliest := bucket.full_us - (pers[i] - every_us);
            SELECT l.turn INTO known_turn FROM lines l
            WHERE l.account = name AND l.run = row_of.run AND l.path = the_path;
            IF FOUND THEN
                the_turn := greatest(known_turn, earliest);
                CONTINUE WHEN the_turn <= now_us;
            ELSE
                DELETE FROM lines l WHERE l.account = name AND NOT EXISTS (
                    SELECT FROM queue q WHERE q.run = l.run AND q.path = l.path);
                the_turn := greatest(earliest, now_us);
                IF EXISTS (SELECT FROM lines l WHERE l.account = name) THEN
                    the_turn := greatest(the_turn, bucket.line_us);
                END IF;
                CONTINUE WHEN the_turn <= now_us;
                UPDATE accounts a SET line_us = the_turn + every_us WHERE a.account = name;
                INSERT INTO lines (account, run, path, turn, most, called_us)
                VALUES (name, row_of.run, the_path, the_turn, 0, -call_us);
            END IF;
            delay := the_turn - now_us;
            why := rate_notes[i];
        END IF;
        EXIT WHEN delay >= 0;
    END LOOP;
    IF delay >= 0 THEN
        outcome := 1;
        UPDATE queue q SET worker = NULL, leased_us = NULL, due_us = now_us + delay, ready = delay <= 0, note = why
        WHERE q.run = row_of.run AND q.path = the_path;
        woken := end_slots_1(ARRAY[row_of.run], ARRAY[the_path], now_us, call_us);
        IF NOT row_of.held THEN
            woken := woken || row_of.queue;
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;
    FOR i IN 1 .. cardinality(names) LOOP
        IF slots_most[i] = 0 AND NOT EXISTS (
            SELECT FROM slots s
            WHERE s.account = names[i] AND s.run = row_of.run AND s.path = the_path AND s.epoch = the_epoch)
        THEN
            UPDATE accounts a SET full_us = greatest(a.full_us, now_us) + greatest(1, pers[i] / rates[i])
            WHERE a.account = names[i];
        END IF;
        INSERT INTO slots (account, run, path, epoch) VALUES (names[i], row_of.run, the_path, the_epoch)
        ON CONFLICT (account, run, path) DO UPDATE SET epoch = excluded.epoch;
        DELETE FROM lines l WHERE l.account = names[i] AND l.run = row_of.run AND l.path = the_path;
    END LOOP;
    outcome := 0;
    RETURN NEXT;
END $$;

-- What a task waits for that found no slot, in the words of every store.
CREATE FUNCTION slot_note_1(title text, most integer, others text[], shown integer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT 'slot of `' || title || '`: ' || least(cardinality(others), most) || ' of ' || most || ' in use'
        || CASE WHEN count(*) > 0 THEN ' by ' || string_agg(run, ', ' ORDER BY run) FILTER (WHERE place <= shown) ELSE '' END
        || CASE WHEN count(*) > shown THEN ' and ' || (count(*) - shown) || ' more' ELSE '' END
    FROM (SELECT run, row_number() OVER (ORDER BY run COLLATE "C") AS place
          FROM (SELECT DISTINCT o COLLATE "C" AS run FROM unnest(others) o) d) s
$$;
