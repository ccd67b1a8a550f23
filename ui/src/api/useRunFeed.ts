/** Follow one run: its journal from the first event, live notices, and the fold of both. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { applyEvent, applyNotice, emptyFold, type RunFold } from "@/rules/fold";
import { api } from "./calls";
import { runQuery, tasksQuery } from "./queries";
import { follow } from "./stream";
import type { JournalEvent, LiveNotice } from "./types";

/** A row of the journal view: an event, or a live notice that stands behind the event it followed. */
export type FeedRow = { live: false; event: JournalEvent } | { live: true; notice: LiveNotice; after: number };

export type RunFeed = { fold: RunFold; events: JournalEvent[]; notices: FeedRow[] };

const NOTICES_KEPT = 200;
const POLL_PAGE = 500;
/** The rest of the page asks again for the run and its tasks this long after the last event of a burst. */
const SETTLE_MS = 250;

const emptyFeed = (): RunFeed => ({ fold: emptyFold(), events: [], notices: [] });

/**
 * The feed of run `id`; renders at most once a frame, however fast events come.
 *
 * `known` is the last event that somebody has heard of. A failed run may be retried: its stream ended with the failure,
 * and it is followed again as soon as a later event is known.
 */
export function useRunFeed(id: string | null, known: number): RunFeed {
  const [feed, setFeed] = useState<RunFeed>(emptyFeed);
  const client = useQueryClient();
  const heard = useRef<(seq: number) => void>(() => {});
  useEffect(() => {
    setFeed(emptyFeed());
    if (id === null) return;
    const fold = emptyFold();
    const events: JournalEvent[] = [];
    let notices: FeedRow[] = [];
    let frame = 0;
    let settle: ReturnType<typeof setTimeout> | null = null;

    const publish = () => {
      frame = 0;
      setFeed({ fold: { ...fold, tasks: { ...fold.tasks } }, events: [...events], notices });
    };
    const changed = () => {
      if (frame === 0) frame = requestAnimationFrame(publish);
    };
    const refresh = () => {
      if (settle !== null) return;
      settle = setTimeout(() => {
        settle = null;
        void client.invalidateQueries({ queryKey: runQuery(id).queryKey });
        void client.invalidateQueries({ queryKey: tasksQuery(id).queryKey });
        void client.invalidateQueries({ queryKey: ["runs", "task", id] });
        void client.invalidateQueries({ queryKey: ["outbox"] });
      }, SETTLE_MS);
    };
    const journal = (event: JournalEvent) => {
      if (event.seq <= fold.seq) return;
      applyEvent(fold, event);
      events.push(event);
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
          }
        },
        onPoll: () => void poll(),
      });
    };
    let stop = listen();
    heard.current = (seq) => {
      if (!over || seq <= fold.seq) return;
      stop();
      stop = listen();
    };
    return () => {
      heard.current = () => {};
      stop();
      cancelAnimationFrame(frame);
      if (settle !== null) clearTimeout(settle);
    };
  }, [id, client]);
  useEffect(() => heard.current(known), [known]);
  return feed;
}
