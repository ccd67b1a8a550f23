-- `claim_tasks`: lease up to `take` due tasks to a worker, in one round trip.
--
-- It never waits (rows that somebody else is taking are passed over) and never looks at a head, so claims and commits
-- can't block one another for longer than a row's own change.
--
-- Delayed rows are first promoted to ready ones. With one index over (priority, due) a claim would read past every
-- high-priority row that is due next month; skip scans come only with PostgreSQL 18.
create function claim_tasks(who text, queues text[], take integer)
returns table (claims jsonb, payloads bytea[], now_us bigint, next_due_us bigint) language plpgsql as $$
declare
  promoted constant integer := 1000;  -- at most this many in one call: a transaction lasts milliseconds
begin
  now_us := store_now_us();
  -- KEY SHARE: see commit_batch.
  perform from workers w where w.worker = who and w.expires_us > now_us for key share;
  if not found then
    claims := '[]'; payloads := '{}';
    return next; return;
  end if;

  update queue q set ready = true
    from (select d.run_id, d.path from queue d
           where d.queue = any (queues) and not d.ready and not d.held and d.worker is null and d.due_us <= now_us
           order by d.due_us limit promoted for update skip locked) due
   where q.run_id = due.run_id and q.path = due.path;

  with best as materialized (
    -- Locks up to `take` rows of each queue, so that the index gives each queue's best in order; those not chosen are
    -- free again in a moment, and another claim passing them over meanwhile loses nothing but time.
    select r.* from unnest(queues) name, lateral (
      select d.run_id, d.path, d.priority, d.due_us from queue d
       where d.queue = name and d.ready and not d.held and d.worker is null
       order by d.priority desc, d.due_us, d.run_id, d.path limit take for update skip locked) r
  ), chosen as (
    select run_id, path from best order by priority desc, due_us, run_id, path limit take
  ), leased as (
    update queue q set worker = who, epoch = nextval('lease_epochs'), leased_us = claim_tasks.now_us
      from chosen k where q.run_id = k.run_id and q.path = k.path
    returning q.*
  )
  select coalesce(jsonb_agg(jsonb_build_object(
             'namespace', namespace, 'run_id', run_id, 'path', path, 'kind', kind, 'queue', queue, 'priority', priority,
             'epoch', epoch, 'queued_us', queued_us, 'due_us', due_us, 'lost', lost)
           order by priority desc, due_us, run_id, path), '[]'),
         coalesce(array_agg(payload order by priority desc, due_us, run_id, path), '{}')
    into claims, payloads from leased;

  select min(s.due_us) into next_due_us from unnest(queues) name, lateral (
    select d.due_us from queue d where d.queue = name and not d.ready and not d.held and d.worker is null
     order by d.due_us limit 1) s;
  return next;
end $$;
