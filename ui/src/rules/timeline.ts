/** When each task worked, waited, failed or paused before a retry; and a time axis that folds long waits. */
import type { JournalEvent, Json, TaskStatus } from "@/api/types";
import type { RunFold } from "./fold";
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
};

type Building = Lane & { at: number; waiting: Segment | null };

const record = (value: Json | undefined): Record<string, Json> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

/** One lane per task in the order they were scheduled, from the journal; what runs now comes from the fold. */
export function lanes(events: readonly JournalEvent[], fold: RunFold): Lane[] {
  const byPath = new Map<string, Building>();
  for (const event of events) {
    if (!event.path || !event.node) continue;
    const at = micros(event.at);
    let lane = byPath.get(event.path);
    if (!lane) {
      lane = {
        path: event.path,
        node: event.node,
        status: "ready",
        from: at,
        at,
        segments: [],
        steps: [],
        words: "",
        waits: "",
        waiting: null,
      };
      byPath.set(event.path, lane);
    }
    advance(lane, event, at);
  }
  return [...byPath.values()].map(({ at, waiting: _w, ...lane }) => {
    const task = fold.tasks[lane.path];
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

function laneWords(lane: Omit<Lane, "words" | "waits">): string {
  const sum = (kind: SegmentKind) =>
    lane.segments.reduce((total, one) => total + (one.kind === kind && one.to !== null ? one.to - one.from : 0), 0);
  const failed = lane.segments.filter((one) => one.kind === "failed").length;
  const parts: string[] = [];
  if (lane.status === "in_doubt") parts.push("in doubt");
  else if (lane.status === "skipped" || lane.status === "cancelled" || lane.status === "ready") parts.push(lane.status);
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
    .flatMap((lane) => lane.segments.filter((one) => one.kind === "work" || one.kind === "failed"))
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
