-- Tables and `commit_batch`: commits of many runs in one round trip, one transaction and one disk sync.
--
-- It is plpgsql and not one statement with CTEs: a statement reads with the snapshot that it began with, so what it
-- reads beside the locked row may be older than the lock. Here every statement after the lock has a newer snapshot.
--
-- Who waits for whom, so that nothing can wait in a circle:
--   1. new heads are inserted in id order (a creator waits for another creator of the same id);
--   2. heads are locked in id order, never waiting: a busy run is a conflict;
--   3. only who has the head may wait for a queue row. Claim, release, expiry change rows without the head, so they
--      pass over locked rows (and take them up at their next turn).

create table runs (
  run_id      text collate "C" primary key,
  namespace   text not null,
  seq         bigint not null,
  held        boolean not null default false,
  recent      jsonb not null default '[]',  -- the last 8 [commit id, answer], oldest first
  feed_tx     xid8,                         -- where its last commit stands in the feed
  workflow    text not null,
  version     integer not null,
  status      text not null,
  live        boolean not null,
  labels      jsonb not null default '{}',
  error       text not null default '',
  created_us  bigint not null,
  started_us  bigint,
  finished_us bigint,
  parent_run  text collate "C",
  summary     bytea not null default ''
) with (fillfactor = 70);  -- room on the page: seq, recent and summary change in place (HOT), no index is touched
create index runs_newest on runs (namespace, created_us desc, run_id desc);
create index runs_live on runs (namespace, workflow) where live;

create table events (run_id text collate "C", seq bigint, data bytea not null, primary key (run_id, seq));
create table blobs (run_id text collate "C", blob_id text collate "C", codec text not null, data bytea not null,
  primary key (run_id, blob_id));
create table snapshots (run_id text collate "C" primary key, seq bigint not null, data bytea not null);

-- One row a commit, not an event: the feed's index costs a commit and not its events.
create table feed (tx xid8, run_id text collate "C", first_seq bigint, last_seq bigint not null,
  namespace text not null, workflow text not null, primary key (tx, run_id, first_seq));

create table workers (worker text collate "C" primary key, seen_us bigint not null, expires_us bigint not null,
  info bytea not null default '') with (fillfactor = 70);

create sequence lease_epochs cache 1;

create table queue (
  run_id    text collate "C",
  path      text collate "C",
  namespace text not null,
  kind      text not null,
  queue     text not null,
  priority  integer not null,
  queued_us bigint not null,
  due_us    bigint not null,
  ready     boolean not null,            -- due and put among the ready ones (by commit or by claim)
  held      boolean not null,            -- copy of the run's hold: claim never looks at heads
  worker    text collate "C",
  epoch     bigint not null default 0,
  leased_us bigint,
  lost      integer not null default 0,
  payload   bytea not null default '',
  note      text not null default '',
  primary key (run_id, path)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
-- Three small indexes; a row is in at most one. One that is leased at birth never enters the first two.
create index queue_ready on queue (queue, priority desc, due_us, run_id, path)
  where ready and not held and worker is null;
create index queue_delayed on queue (queue, due_us) where not ready and not held and worker is null;
create index queue_leased on queue (worker) where worker is not null;

create function store_now_us() returns bigint language sql volatile as
$$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;

-- `commits`: [{id, run, ns, worker, expected, hold, index, stands_on: [{path, epoch, finish}], withdraw: [path],
--   enqueue: [{path, kind, queue, priority, delay_us, leased, payload (base64)}]}], in order. Opaque bytes travel
--   beside it, as arrays; *_no is the number of their commit in the batch, from 0.
create function commit_batch(
  commits jsonb,
  event_no integer[], event_data bytea[],
  blob_no integer[], blob_ids text[], blob_codec text[], blob_data bytea[],
  snapshot_no integer[], snapshot_data bytea[],
  summary_no integer[], summary_data bytea[]
) returns table (no integer, answer jsonb) language plpgsql as $$
declare
  remembered constant integer := 8;
  counts    integer[];           -- events of commit i (at i + 1)
  locked    text[];              -- runs that are ours
  created   text[];              -- heads that this batch put there
  alive     text[];              -- workers that may get leases
  now_us    bigint;
  ok_no integer[] := '{}'; ok_run text[] := '{}'; ok_seq bigint[] := '{}'; -- seq before the commit
  c jsonb; i integer := -1; added integer;
  head runs; mine text[]; missing text[]; granted jsonb; new_held boolean; known jsonb;
begin
  select array_agg(coalesce(n, 0) order by s) into counts
    from generate_series(0, jsonb_array_length(commits) - 1) s
    left join (select e, count(*)::integer n from unnest(event_no) e group by e) x on e = s;

  with new_heads as (
    insert into runs (run_id, namespace, seq, workflow, version, status, live, created_us)
    select distinct on (x ->> 'run') x ->> 'run', x ->> 'ns', 0, '', 0, '', false, 0
      from jsonb_array_elements(commits) x where (x ->> 'expected')::bigint = 0 order by x ->> 'run'
    on conflict do nothing returning run_id)
  select coalesce(array_agg(run_id), '{}') into created from new_heads;

  select coalesce(array_agg(run_id), '{}') into locked from (
    select run_id from runs
     where run_id = any (array(select x ->> 'run' from jsonb_array_elements(commits) x))
     order by run_id for no key update skip locked) s;

  -- KEY SHARE lets the heartbeat pass and holds back only the row's end: a worker isn't forgotten while it is being
  -- given a lease, else the lease would have no owner.
  select coalesce(array_agg(w.worker), '{}') into alive from (
    select worker from workers
     where worker = any (array(select x ->> 'worker' from jsonb_array_elements(commits) x))
       and expires_us > store_now_us()
     order by worker for key share) w;

  now_us := store_now_us();  -- after the waiting

  for c in select * from jsonb_array_elements(commits) loop
    i := i + 1; no := i; added := counts[i + 1];
    select * into head from runs r where r.run_id = c ->> 'run';

    if not found or head.namespace <> c ->> 'ns' then  -- a run of another namespace is as good as none
      if jsonb_array_length(c -> 'stands_on') > 0 then
        answer := jsonb_build_object('outcome', 'fenced', 'seq', 0, 'now_us', now_us,
                                     'lost', jsonb_path_query_array(c, '$.stands_on[*].path'));
      else
        answer := jsonb_build_object('outcome', 'conflict', 'seq', 0, 'now_us', now_us);
      end if;
      return next; continue;
    end if;
    if head.run_id <> all (locked) then  -- busy
      answer := jsonb_build_object('outcome', 'conflict', 'seq', head.seq, 'now_us', now_us);
      return next; continue;
    end if;

    -- First the id: a repeat finds its own lease finished and its own events in the journal.
    select r -> 1 into known from jsonb_array_elements(head.recent) r where r ->> 0 = c ->> 'id';
    if found then
      answer := known || jsonb_build_object('now_us', now_us);
      return next; continue;
    end if;

    if jsonb_array_length(c -> 'stands_on') > 0 then
      select array_agg(s.path) into mine from (
        select q.path from jsonb_array_elements(c -> 'stands_on') l
          join queue q on q.run_id = c ->> 'run' and q.path = l ->> 'path'
           and q.worker is not null and q.epoch = (l ->> 'epoch')::bigint
           for update of q) s;
      if cardinality(mine) is distinct from jsonb_array_length(c -> 'stands_on') then
        select array_agg(l ->> 'path') into missing from jsonb_array_elements(c -> 'stands_on') l
         where l ->> 'path' <> all (coalesce(mine, '{}'));
        answer := jsonb_build_object('outcome', 'fenced', 'seq', head.seq, 'lost', missing, 'now_us', now_us);
        return next; continue;
      end if;
    end if;

    -- A head with seq 0 is the one that this batch put there: events of the creating commit make it a run.
    if coalesce((c ->> 'expected')::bigint, head.seq) <> head.seq
       or (head.seq = 0 and (c ->> 'expected') is null) then
      answer := jsonb_build_object('outcome', 'conflict', 'seq', head.seq, 'now_us', now_us);
      return next; continue;
    end if;
    if (head.seq = 0 and (added = 0 or jsonb_typeof(c -> 'index') is distinct from 'object'))
       or ((c ->> 'expected') is null and added > 0) then
      raise exception 'commit % of run %: a new run needs `index` and events; events need `expected`',
          c ->> 'id', c ->> 'run'
        using errcode = 'invalid_parameter_value';
    end if;

    delete from queue q
     where q.run_id = head.run_id
       and q.path = any (array(
         select l ->> 'path' from jsonb_array_elements(c -> 'stands_on') l where (l ->> 'finish')::boolean
         union all select l from jsonb_array_elements_text(c -> 'withdraw') l));
    if exists (select from jsonb_array_elements(c -> 'stands_on') l where not (l ->> 'finish')::boolean) then
      update queue q set lost = 0 from jsonb_array_elements(c -> 'stands_on') l
       where q.run_id = head.run_id and q.path = l ->> 'path' and q.lost > 0;
    end if;
    new_held := coalesce((c ->> 'hold')::boolean, head.held);
    if new_held <> head.held then
      update queue q set held = new_held where q.run_id = head.run_id;
    end if;

    granted := '[]';
    if jsonb_array_length(c -> 'enqueue') > 0 then
      with written as (
        insert into queue as q (run_id, path, namespace, kind, queue, priority, queued_us, due_us, ready, held, worker,
                                epoch, leased_us, payload)
        select head.run_id, e ->> 'path', head.namespace, e ->> 'kind', e ->> 'queue', (e ->> 'priority')::integer,
               now_us, now_us + (e ->> 'delay_us')::bigint, (e ->> 'delay_us')::bigint <= 0, new_held,
               case when lease then c ->> 'worker' end, case when lease then nextval('lease_epochs') else 0 end,
               case when lease then now_us end, decode(e ->> 'payload', 'base64')
          from (select e, (e ->> 'leased')::boolean and not new_held and c ->> 'worker' = any (alive) as lease
                  from jsonb_array_elements(c -> 'enqueue') e) s
        on conflict (run_id, path) do update
           set (kind, queue, priority, queued_us, due_us, ready, held, worker, epoch, leased_us, payload, lost, note) =
               (excluded.kind, excluded.queue, excluded.priority, excluded.queued_us, excluded.due_us, excluded.ready,
                excluded.held, excluded.worker, excluded.epoch, excluded.leased_us, excluded.payload, 0, '')
         where q.worker is null
        returning q.path, q.epoch, q.worker)
      select coalesce(jsonb_agg(jsonb_build_object('run_id', head.run_id, 'path', w.path, 'epoch', w.epoch)), '[]')
        into granted from written w where w.worker is not null;
    end if;

    answer := jsonb_build_object('outcome', 'ok', 'seq', head.seq + added, 'leases', granted, 'now_us', now_us);
    known := head.recent || jsonb_build_array(jsonb_build_array(c ->> 'id', answer));
    if jsonb_array_length(known) > remembered then known := known - 0; end if;
    -- The feed is read in the order of feed_tx, below pg_snapshot_xmin. A transaction that got its number early may
    -- reach this run after a later one has: it takes the later number, so that a run's items stay in seq order. That number
    -- is never below our own, so nobody reads past the row before we commit.
    if jsonb_typeof(c -> 'index') = 'object' then
      update runs r set seq = head.seq + added, held = new_held, recent = known,
             feed_tx = greatest(r.feed_tx, pg_current_xact_id()),
             workflow = x.workflow, version = x.version, status = x.status, live = x.live,
             labels = coalesce(x.labels, '{}'), error = coalesce(x.error, ''), created_us = coalesce(x.created_us, 0),
             started_us = x.started_us, finished_us = x.finished_us, parent_run = x.parent_run
        from jsonb_to_record(c -> 'index') as x (workflow text, version integer, status text, live boolean,
             labels jsonb, error text, created_us bigint, started_us bigint, finished_us bigint, parent_run text)
       where r.run_id = head.run_id;
    else
      update runs r set seq = head.seq + added, held = new_held, recent = known,
             feed_tx = greatest(r.feed_tx, pg_current_xact_id())
       where r.run_id = head.run_id;
    end if;
    ok_no := ok_no || i; ok_run := ok_run || head.run_id; ok_seq := ok_seq || head.seq;
    return next;
  end loop;

  -- What needs no more checks is written for the whole batch at once.
  insert into events (run_id, seq, data)
  select o.run, o.seq + row_number() over (partition by o.no order by e.pos), e.data
    from unnest(event_no, event_data) with ordinality e (no, data, pos)
    join unnest(ok_no, ok_run, ok_seq) o (no, run, seq) on o.no = e.no;
  insert into feed (tx, run_id, first_seq, last_seq, namespace, workflow)
  select r.feed_tx, r.run_id, o.seq + 1, o.seq + counts[o.no + 1], r.namespace, r.workflow
    from unnest(ok_no, ok_run, ok_seq) o (no, run, seq) join runs r on r.run_id = o.run where counts[o.no + 1] > 0;
  if cardinality(blob_no) > 0 then
    insert into blobs select o.run, b.id, b.codec, b.data
      from unnest(blob_no, blob_ids, blob_codec, blob_data) b (no, id, codec, data)
      join unnest(ok_no, ok_run) o (no, run) on o.no = b.no
    on conflict do nothing;
  end if;
  if cardinality(snapshot_no) > 0 then
    insert into snapshots
    select distinct on (o.run) o.run, o.seq + counts[o.no + 1], s.data
      from unnest(snapshot_no, snapshot_data) s (no, data)
      join unnest(ok_no, ok_run, ok_seq) o (no, run, seq) on o.no = s.no order by o.run, o.no desc
    on conflict (run_id) do update set seq = excluded.seq, data = excluded.data;
  end if;
  if cardinality(summary_no) > 0 then
    update runs r set summary = s.data from (
      select distinct on (o.run) o.run, m.data from unnest(summary_no, summary_data) m (no, data)
        join unnest(ok_no, ok_run) o (no, run) on o.no = m.no order by o.run, o.no desc) s
     where r.run_id = s.run;
  end if;
  if cardinality(created) > 0 then
    delete from runs where run_id = any (created) and seq = 0;  -- creations that were refused
  end if;
end $$;
