/** When each task worked, waited, failed or paused before a retry; and a time axis that folds long waits. */
import type { JournalEvent, Json, TaskStatus } from "@/api/types";
import { containerOf, isItem, itemsWords, type RunFold, shownStatus, type TaskState } from "./fold";
import { waitWords } from "./journal";
import { duration, micros } from "./time";

export type SegmentKind = "work" | "wait" | "failed" | "pause" | "doubt";
/** In microseconds since the epoch; `to` is null while it goes on. */
export type Segment = { kind: SegmentKind; from: number; to: number | null };
export type Lane = {
  path: string;
  node: string;
  status: TaskStatus;
  from: number;
  segments: Segment[];
  steps: { name: string; from: number; to: number; failed: boolean }[];
  words: string;
  /** What it waits for now, in words; empty if it does not wait. */
  waits: string;
  /** Of a `for_each`: when its items were at work, as thin lanes. */
  items: Segment[][];
};

/** The lanes of items that one row has room for. */
const ITEM_LANES = 6;
/** Bars of items nearer to one another than this share of their time are drawn as one. */
const ITEM_GAP = 1 / 500;

type Building = Lane & { at: number; waiting: Segment | null };

const record = (value: Json | undefined): Record<string, Json> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

/** One lane per task in the order they were scheduled, from the journal; what runs now comes from the fold. */
export function lanes(events: readonly JournalEvent[], fold: RunFold): Lane[] {
  const byPath = new Map<string, Building>();
  const open = new Map<string, Building>();
  const done = new Map<string, Segment[]>();
  for (const event of events) {
    if (!event.path || !event.node) continue;
    const at = micros(event.at);
    if (isItem(event.path)) {
      itemEvent(event, at, open, done);
      continue;
    }
    let lane = byPath.get(event.path);
    if (!lane) {
      lane = begun(event.path, event.node, at);
      byPath.set(event.path, lane);
    }
    advance(lane, event, at);
  }
  for (const lane of open.values()) {
    const path = containerOf(lane.path);
    done.set(path, [...(done.get(path) ?? []), ...lane.segments, ...runsNow(fold.openItems[lane.path], lane.at)]);
  }
  for (const [path, segments] of done) {
    const lane = byPath.get(path) ?? (fold.tasks[path] ? fromTask(fold.tasks[path]) : null);
    if (!lane) continue;
    lane.items = thinLanes(segments);
    byPath.set(path, lane);
  }
  return inOrder(byPath, fold).map(({ at, waiting: _w, ...lane }) => {
    const task = fold.tasks[lane.path];
    if (task?.items) {
      // What the task itself did is to wait for its items: these are drawn in its place.
      const words = itemLaneWords(task);
      return {
        ...lane,
        segments: lane.items.length > 0 ? [] : lane.segments,
        status: shownStatus(task, fold),
        waits: "",
        words,
      };
    }
    const status = task?.status ?? "ready";
    if (status === "running") {
      lane.segments.push({ kind: "work", from: Math.max(at, task?.startedAt ? micros(task.startedAt) : at), to: null });
    }
    if (status === "cancelled" && lane.segments.length === 0 && task?.startedAt) {
      lane.segments.push({
        kind: "work",
        from: micros(task.startedAt),
        to: task.finishedAt ? micros(task.finishedAt) : at,
      });
    }
    const waits = status === "waiting" ? lane.waits || "waits for its next try" : "";
    return { ...lane, status, waits, words: laneWords({ ...lane, status }) };
  });
}

const begun = (path: string, node: string, at: number): Building => ({
  path,
  node,
  status: "ready",
  from: at,
  at,
  segments: [],
  steps: [],
  words: "",
  waits: "",
  items: [],
  waiting: null,
});

/** A lane of a task whose events aren't here: what the list of tasks knows of it. */
function fromTask(task: TaskState): Building {
  const at = micros(task.startedAt ?? task.scheduledAt ?? "");
  const lane = begun(task.path, task.node, Number.isFinite(at) ? at : 0);
  if (task.startedAt && task.finishedAt) {
    const kind = task.status === "failed" ? "failed" : "work";
    lane.segments.push({ kind, from: micros(task.startedAt), to: micros(task.finishedAt) });
    lane.at = micros(task.finishedAt);
  }
  return lane;
}

/** Lanes in the order of their scheduling; where the journal isn't whole, with the tasks that only the list knows. */
function inOrder(byPath: ReadonlyMap<string, Building>, fold: RunFold): Building[] {
  if (!fold.partial) return [...byPath.values()];
  return fold.order.flatMap((path) => {
    const task = fold.tasks[path];
    return byPath.get(path) ?? (task ? fromTask(task) : []);
  });
}

const runsNow = (task: TaskState | undefined, at: number): Segment[] =>
  task?.status === "running"
    ? [{ kind: "work", from: Math.max(at, task.startedAt ? micros(task.startedAt) : at), to: null }]
    : [];

function itemEvent(event: JournalEvent, at: number, open: Map<string, Building>, done: Map<string, Segment[]>): void {
  const path = event.path as string;
  const lane = open.get(path) ?? begun(path, event.node as string, at);
  open.set(path, lane);
  advance(lane, event, at);
  const ended =
    /^task_(completed|skipped|cancelled)$/.test(event.kind) ||
    (event.kind === "task_failed" && typeof event.retry_us !== "number");
  if (!ended) return;
  open.delete(path);
  const container = containerOf(path);
  const segments = done.get(container);
  if (segments) segments.push(...lane.segments);
  else done.set(container, [...lane.segments]);
}

/** Bars that overlap lie in lanes of their own, as long as there are some; neighbours of one kind grow together. */
export function thinLanes(segments: readonly Segment[]): Segment[][] {
  const sorted = [...segments].sort((a, b) => a.from - b.from);
  const [first, last] = [sorted[0], Math.max(...sorted.slice(-1000).map((one) => one.to ?? one.from))];
  const gap = first ? (last - first.from) * ITEM_GAP : 0;
  const rows: { end: number; bars: Segment[] }[] = [];
  for (const one of sorted) {
    let row = rows.find((free) => free.end <= one.from);
    if (!row && rows.length < ITEM_LANES) {
      row = { end: 0, bars: [] };
      rows.push(row);
    }
    row ??= rows.reduce((a, b) => (b.end < a.end ? b : a));
    const before = row.bars.at(-1);
    const joins = before && before.kind === one.kind && before.to !== null && one.to !== null;
    if (joins && one.from - (before.to ?? 0) <= gap) before.to = Math.max(before.to ?? 0, one.to ?? 0);
    else row.bars.push({ ...one });
    row.end = one.to ?? Number.POSITIVE_INFINITY;
  }
  return rows.map((row) => row.bars);
}

function itemLaneWords({ items, status }: TaskState): string {
  if (!items) return "";
  const all = status === "completed" ? items.count.toLocaleString("en") : itemsWords(items);
  return `${all} items${items.failed > 0 ? ` · ${items.failed.toLocaleString("en")} failed` : ""}`;
}

function advance(lane: Building, event: JournalEvent, at: number): void {
  const started = record(event.timing).started_at;
  const from = Math.max(lane.at, typeof started === "string" && started ? micros(started) : lane.at);
  const close = () => {
    if (lane.waiting) lane.waiting.to = at;
    lane.waiting = null;
  };
  const begin = (kind: SegmentKind) => {
    lane.waiting = { kind, from: at, to: null };
    lane.segments.push(lane.waiting);
  };
  switch (event.kind) {
    case "task_completed":
      close();
      lane.segments.push({ kind: "work", from, to: at });
      break;
    case "task_failed":
      close();
      lane.segments.push({ kind: "failed", from, to: at });
      if (typeof event.retry_us === "number") lane.segments.push({ kind: "pause", from: at, to: event.retry_us });
      break;
    case "task_suspended":
      close();
      lane.waits = `waits ${(Array.isArray(event.waits) ? event.waits : []).map(waitWords).join(", or ")}`;
      if (at > lane.at) lane.segments.push({ kind: "work", from: lane.at, to: at });
      begin("wait");
      break;
    case "task_in_doubt":
      close();
      begin("doubt");
      break;
    case "graph_extended":
      close();
      lane.segments.push({ kind: "work", from, to: at });
      break;
    case "items_started":
      close();
      if (at > lane.at) lane.segments.push({ kind: "work", from: lane.at, to: at });
      begin("wait");
      break;
    case "task_resumed":
    case "task_resolved":
    case "task_cancelled":
    case "task_skipped":
      close();
      break;
    case "step_recorded": {
      const began = typeof event.started_at === "string" && event.started_at ? micros(event.started_at) : at;
      lane.steps.push({
        name: String(event.name ?? event.step ?? "step"),
        from: began,
        to: at,
        failed: event.error != null,
      });
      return;
    }
    case "decision_made":
    case "step_started":
      return;
  }
  lane.at = at;
}

function laneWords(lane: Omit<Lane, "words" | "waits" | "items">): string {
  const sum = (kind: SegmentKind) =>
    lane.segments.reduce((total, one) => total + (one.kind === kind && one.to !== null ? one.to - one.from : 0), 0);
  const failed = lane.segments.filter((one) => one.kind === "failed").length;
  const parts: string[] = [];
  if (lane.status === "in_doubt") parts.push("in doubt");
  else if (lane.status === "cancelled") parts.push("withdrawn");
  else if (lane.status === "skipped" || lane.status === "ready") parts.push(lane.status);
  if (failed > 0) parts.push(failed === 1 ? "1 try failed" : `${failed} tries failed`);
  const [work, wait] = [sum("work"), sum("wait")];
  if (lane.status === "completed" && lane.segments.length > 0) parts.push(duration(work));
  if (wait > 0 && lane.status !== "waiting") parts.push(`waited ${duration(wait)}`);
  if (lane.steps.length > 0) parts.push(lane.steps.length === 1 ? "1 step" : `${lane.steps.length} steps`);
  return parts.join(" · ");
}

/** A stretch of the axis: times `from` to `to` are drawn at shares `x0` to `x1` of its width. */
export type Piece = { from: number; to: number; x0: number; x1: number; folded: boolean };
export type Scale = { pieces: Piece[]; span: number; at: (time: number) => number };

const FOLDED_SHARE = 0.12;
/** Shorter waits are no hindrance to reading, however short the run. */
const FOLDED_LEAST_US = 5_000_000;

/**
 * An axis from `start` to `end` on which every wait that would take more than a quarter of it is folded to a narrow
 * mark, unless its start is in `unfolded`.
 */
export function timeScale(all: readonly Lane[], start: number, end: number, unfolded: ReadonlySet<number>): Scale {
  const stop = Math.max(end, start + 1000);
  const quiet = quietGaps(all, start, stop).filter((gap) => !unfolded.has(gap.from));
  const folded: { from: number; to: number }[] = [];
  let left = stop - start;
  for (const gap of quiet.sort((a, b) => b.to - b.from - (a.to - a.from))) {
    if (folded.length >= 4 || gap.to - gap.from <= Math.max(left / 4, FOLDED_LEAST_US)) break;
    folded.push(gap);
    left -= gap.to - gap.from;
  }
  folded.sort((a, b) => a.from - b.from);
  const share = (1 - FOLDED_SHARE * folded.length) / Math.max(1, left);
  const pieces: Piece[] = [];
  let [time, x] = [start, 0];
  const push = (to: number, isFolded: boolean) => {
    if (to <= time) return;
    const width = isFolded ? FOLDED_SHARE : (to - time) * share;
    pieces.push({ from: time, to, x0: x, x1: x + width, folded: isFolded });
    [time, x] = [to, x + width];
  };
  for (const gap of folded) {
    push(gap.from, false);
    push(gap.to, true);
  }
  push(stop, false);
  return { pieces, span: left, at: (moment) => place(pieces, moment) };
}

function place(pieces: readonly Piece[], moment: number): number {
  const first = pieces[0];
  const last = pieces.at(-1);
  if (!first || !last || moment <= first.from) return 0;
  if (moment >= last.to) return last.x1;
  const piece = pieces.find((one) => moment < one.to) ?? last;
  return piece.x0 + ((moment - piece.from) / (piece.to - piece.from)) * (piece.x1 - piece.x0);
}

/** Where nothing works: the times outside every work, failed and step segment, trimmed so that their ends stay visible. */
function quietGaps(all: readonly Lane[], start: number, stop: number): { from: number; to: number }[] {
  const busy = all
    .flatMap((lane) => [...lane.segments, ...lane.items.flat()])
    .filter((one) => one.kind === "work" || one.kind === "failed")
    .map((one) => ({ from: one.from, to: one.to ?? stop }))
    .sort((a, b) => a.from - b.from);
  const gaps: { from: number; to: number }[] = [];
  let time = start;
  for (const one of [...busy, { from: stop, to: stop }]) {
    const length = one.from - time;
    if (length > 0) gaps.push({ from: time + length * 0.1, to: one.from - length * 0.1 });
    time = Math.max(time, one.to);
  }
  return gaps;
}
