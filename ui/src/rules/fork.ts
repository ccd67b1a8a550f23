/** Where a run may be forked, and what a fork there would reuse. A fork cuts only between groups. */
import type { JournalEvent } from "@/api/types";

export type ForkPoint = { seq: number; words: string };

/** The last event of each group but the terminal one, oldest first. */
export function forkPoints(events: readonly JournalEvent[]): ForkPoint[] {
  const points: ForkPoint[] = [];
  events.forEach((event, i) => {
    const next = events[i + 1];
    if (next && next.group === event.group) return;
    if (/^run_(succeeded|failed|cancelled)$/.test(event.kind)) return;
    const group = events.filter((one) => one.group === event.group);
    const telling =
      group.find((one) => one.kind === "decision_made") ?? group.find((one) => one.kind !== "task_scheduled") ?? event;
    points.push({
      seq: event.seq,
      words: `${telling.kind.replaceAll("_", " ")}${telling.path ? ` ${telling.path}` : ""}`,
    });
  });
  return points;
}

/** In one sentence: what is reused and what runs again. */
export function forkPreview(events: readonly JournalEvent[], seq: number): string {
  const reused = new Set<string>();
  const open = new Set<string>();
  for (const event of events) {
    if (event.seq > seq || !event.path) continue;
    if (event.kind === "task_scheduled") open.add(event.path);
    if (event.kind === "task_completed" || event.kind === "task_skipped" || event.kind === "task_cancelled")
      open.delete(event.path);
    if (event.kind === "task_completed") reused.add(event.path);
  }
  const kept = reused.size === 1 ? "1 result is reused" : `${reused.size} results are reused`;
  const anew =
    open.size === 0
      ? "nothing is open at this point"
      : `${[...open].join(", ")} ${open.size === 1 ? "starts" : "start"} anew, and what follows`;
  return `${kept}; ${anew}.`;
}
