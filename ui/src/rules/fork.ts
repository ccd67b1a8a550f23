/** Where a run may be forked, what a fork there would reuse, and what of a plan a person must see. */
import type { ForkPlan, JournalEvent } from "@/api/types";
import { money } from "./budget";

export type ForkPoint = { seq: number; words: string };

/** The last event of each group but the terminal one, oldest first. */
export function forkPoints(events: readonly JournalEvent[]): ForkPoint[] {
  const points: ForkPoint[] = [];
  let first = 0;
  events.forEach((event, i) => {
    if (events[i + 1]?.group === event.group) return;
    const group = events.slice(first, i + 1);
    first = i + 1;
    if (/^run_(succeeded|failed|cancelled)$/.test(event.kind)) return;
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

/** "2 write effects and 1 irreversible effect": what a fork would do to the world a second time; empty if nothing. */
export function repeatsWords({ repeated_effects: { write, irreversible } }: ForkPlan): string {
  const count = (n: number, what: string) => (n === 0 ? null : n === 1 ? `1 ${what} effect` : `${n} ${what} effects`);
  return [count(irreversible, "irreversible"), count(write, "write")].filter(Boolean).join(" and ");
}

/** What the fork would cost, by what the same tasks cost in this run. */
export function costWords({ estimate, new: unmet }: ForkPlan): string {
  const tokens = estimate.usage.tokens ?? estimate.usage.total_tokens ?? 0;
  const parts = [estimate.cost_usd > 0 ? `about ${money(estimate.cost_usd)}` : "nothing recorded"];
  if (tokens > 0) parts.push(`${Math.round(tokens).toLocaleString("en")} tokens`);
  if (unmet.total > 0) parts.push("new nodes not counted");
  return parts.join(", ");
}
