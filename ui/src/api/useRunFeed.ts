/** Follow one run: its journal from the first event, live notices, and the fold of both. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { applyEvent, applyNotice, emptyFold, foldFrom, type RunFold } from "@/rules/fold";
import { isTerminal } from "@/rules/status";
import { api } from "./calls";
import { runQuery } from "./queries";
import { follow } from "./stream";
import type { JournalEvent, LiveNotice, Run } from "./types";

/** A row of the journal view: an event, or a live notice that stands behind the event it followed. */
export type FeedRow = { live: false; event: JournalEvent } | { live: true; notice: LiveNotice; after: number };

/** `unread`: how many events before the first of `events` are not here; `readMore` brings some of them. */
export type RunFeed = {
  fold: RunFold;
  events: JournalEvent[];
  notices: FeedRow[];
  unread: number;
  readMore: () => Promise<void>;
};

const NOTICES_KEPT = 200;
const POLL_PAGE = 500;
/** A journal with more events than this is followed from its last `TAIL` on; the rest is read when somebody asks. */
const WHOLE_MAX = 25_000;
const TAIL = 2_000;
/** While a run goes on this many events are kept; then the oldest quarter goes. */
const KEPT_MAX = 40_000;
/** The rest of the page asks again for the run and its tasks this long after the last event of a burst. */
const SETTLE_MS = 250;
/** In a long journal each of these questions takes longer, and each drawing too. */
const LONG = 4_000;
const SETTLE_LONG_MS = 1_000;
const DRAW_LONG_MS = 200;

const nothingMore = async () => {};
const emptyFeed = (): RunFeed => ({ fold: emptyFold(), events: [], notices: [], unread: 0, readMore: nothingMore });

/**
 * The feed of a run, once the run itself is known; renders at most once a frame, however fast events come.
 *
 * `run.seq` is the last event that somebody has heard of. A failed run may be retried: its stream ended with the failure,
 * and it is followed again as soon as a later event is known.
 */
export function useRunFeed(id: string | null, run: Run | null): RunFeed {
  const [feed, setFeed] = useState<RunFeed>(emptyFeed);
  const client = useQueryClient();
  const heard = useRef<(seq: number) => void>(() => {});
  const begun = useRef<Run | null>(null);
  const known = run !== null && run.id === id;
  begun.current = run;
  useEffect(() => {
    setFeed(emptyFeed());
    if (id === null || !known) return;
    const first = begun.current;
    const long = first !== null && first.seq > WHOLE_MAX;
    const fold = foldFrom(long ? first.seq : 0);
    let unread = long ? first.seq : 0;
    if (long) {
      fold.startedAt = first.started_at ?? first.created_at;
      fold.finishedAt = first.finished_at;
      fold.ended = isTerminal(first.status) ? first.status : null;
      fold.error = first.error;
    }
    let events: JournalEvent[] = [];
    let notices: FeedRow[] = [];
    let frame = 0;
    let drawn = 0;
    let settle: ReturnType<typeof setTimeout> | null = null;
    let gone = false;

    const publish = () => {
      if (events.length > LONG && performance.now() - drawn < DRAW_LONG_MS && !fold.ended) {
        frame = requestAnimationFrame(publish);
        return;
      }
      frame = 0;
      drawn = performance.now();
      setFeed({
        fold: { ...fold, tasks: { ...fold.tasks }, openItems: { ...fold.openItems } },
        events: [...events],
        notices,
        unread,
        readMore: () => readBefore(POLL_PAGE),
      });
    };
    const changed = () => {
      if (frame === 0) frame = requestAnimationFrame(publish);
    };
    /** The last events before those that are here; they are shown, and change nothing of what is known. */
    const readBefore = async (count: number) => {
      const from = Math.max(0, unread - count);
      const found: JournalEvent[] = [];
      while (unread > from + found.length && !gone) {
        const after = from + found.length;
        const page = await api.readJournal(id, after, Math.min(POLL_PAGE, unread - after));
        if (page.items.length === 0) break;
        found.push(...page.items);
      }
      if (gone || from + found.length !== unread) return;
      events = [...found, ...events];
      unread = from;
      changed();
    };
    const settleMs = () => (events.length > LONG || long ? SETTLE_LONG_MS : SETTLE_MS);
    const refresh = () => {
      if (settle !== null) return;
      settle = setTimeout(() => {
        settle = null;
        void client.invalidateQueries({ queryKey: runQuery(id).queryKey });
        for (const about of ["tasks", "task", "items", "explain", "children"]) {
          void client.invalidateQueries({ queryKey: ["runs", about, id] });
        }
        void client.invalidateQueries({ queryKey: ["outbox"] });
      }, settleMs());
    };
    const journal = (event: JournalEvent) => {
      if (event.seq <= fold.seq) return;
      applyEvent(fold, event);
      events.push(event);
      if (events.length > KEPT_MAX && !fold.ended) {
        const cut = Math.floor(events.length / 4);
        unread += cut;
        events = events.slice(cut);
      }
      // What the journal has said about a task replaces the notices of it.
      if (event.path) notices = notices.filter((row) => !row.live || row.notice.path !== event.path);
      if (fold.ended) notices = [];
      changed();
      refresh();
    };

    let polling = false;
    const poll = async () => {
      if (polling) return;
      polling = true;
      try {
        for (;;) {
          const page = await api.readJournal(id, fold.seq, POLL_PAGE);
          for (const event of page.items) journal(event);
          if (page.items.length === 0 || page.next === null) break;
        }
      } catch {
        // The server is away; the stream says so, and tries again.
      } finally {
        polling = false;
      }
    };

    let over = false;
    const listen = () => {
      over = false;
      return follow(`/runs/${encodeURIComponent(id)}/events`, fold.seq > 0 ? String(fold.seq) : null, {
        onEvent: ({ event, data }) => {
          if (event === "journal") journal(JSON.parse(data) as JournalEvent);
          else if (event === "live") {
            const notice = JSON.parse(data) as LiveNotice;
            applyNotice(fold, notice);
            notices = [...notices.slice(1 - NOTICES_KEPT), { live: true, notice, after: fold.seq }];
            changed();
          } else if (event === "end") {
            over = true;
            refresh();
            // A failed run may be retried, here or elsewhere: what happens to it from now on wakes the page.
            if (fold.ended === "failed") setTimeout(() => !gone && over && watch());
          }
        },
        onPoll: () => void poll(),
      });
    };
    const watch = () => {
      stop();
      stop = follow(`/events?run=${encodeURIComponent(id)}`, null, {
        onEvent: ({ event }) => {
          if (event === "run" || event === "journal") wake();
        },
        onPoll: () => void client.invalidateQueries({ queryKey: runQuery(id).queryKey }),
      });
    };
    const wake = () => {
      if (!over) return;
      stop();
      stop = listen();
      refresh();
    };
    let stop = listen();
    // The server may be away; then the journal shows that it isn't whole, and a person asks again.
    if (long) readBefore(TAIL).catch(() => changed());
    heard.current = (seq) => {
      if (seq > fold.seq) wake();
    };
    return () => {
      gone = true;
      heard.current = () => {};
      stop();
      cancelAnimationFrame(frame);
      if (settle !== null) clearTimeout(settle);
    };
  }, [id, known, client]);
  const seq = run?.seq ?? 0;
  useEffect(() => heard.current(seq), [seq]);
  return feed;
}
