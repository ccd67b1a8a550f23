/** What each status is called, which shape it has and which hue: one table each for runs and tasks. */
import type { RunStatus, TaskCounts, TaskStatus } from "@/api/types";

export type Hue = "idle" | "run" | "wait" | "doubt" | "ok" | "fail";
export type StatusShape =
  | "queued"
  | "ready"
  | "running"
  | "waiting"
  | "paused"
  | "cancelling"
  | "ok"
  | "failed"
  | "cancelled"
  | "skipped"
  | "doubt";
export type Look = { word: string; shape: StatusShape; hue: Hue };

const hues: Record<StatusShape, Hue> = {
  queued: "idle",
  ready: "idle",
  running: "run",
  waiting: "wait",
  paused: "idle",
  cancelling: "idle",
  ok: "ok",
  failed: "fail",
  cancelled: "idle",
  skipped: "idle",
  doubt: "doubt",
};

const runs: Record<RunStatus, [string, StatusShape]> = {
  queued: ["Queued", "queued"],
  running: ["Running", "running"],
  waiting: ["Waiting", "waiting"],
  paused: ["Paused", "paused"],
  cancelling: ["Cancelling", "cancelling"],
  succeeded: ["Succeeded", "ok"],
  failed: ["Failed", "failed"],
  cancelled: ["Cancelled", "cancelled"],
};

const tasks: Record<TaskStatus, [string, StatusShape]> = {
  ready: ["Ready", "ready"],
  running: ["Running", "running"],
  waiting: ["Waiting", "waiting"],
  in_doubt: ["In doubt", "doubt"],
  completed: ["Completed", "ok"],
  failed: ["Failed", "failed"],
  skipped: ["Skipped", "skipped"],
  cancelled: ["Cancelled", "cancelled"],
};

export const RUN_STATUSES = Object.keys(runs) as RunStatus[];
export const TASK_STATUSES = Object.keys(tasks) as TaskStatus[];
export const LIVE_STATUSES: RunStatus[] = ["queued", "running", "waiting", "paused", "cancelling"];

export const hueOf = (shape: StatusShape): Hue => hues[shape];

function look([word, shape]: [string, StatusShape]): Look {
  return { word, shape, hue: hues[shape] };
}

export const runLook = (status: RunStatus): Look => look(runs[status] ?? [status, "queued"]);
export const taskLook = (status: TaskStatus): Look => look(tasks[status] ?? [status, "ready"]);

export const isTerminal = (status: RunStatus): boolean =>
  status === "succeeded" || status === "failed" || status === "cancelled";

/** "4 done, 1 waiting": what a run's tasks are at, without the zeros. */
export function countsSentence(counts: TaskCounts): string {
  const parts: string[] = [];
  const add = (count: number, word: string) => {
    if (count > 0) parts.push(`${count.toLocaleString("en")} ${word}`);
  };
  add(counts.completed, "done");
  add(counts.skipped, "skipped");
  add(counts.running, "running");
  add(counts.ready, "ready");
  add(counts.waiting, "waiting");
  add(counts.in_doubt, "in doubt");
  add(counts.failed, "failed");
  add(counts.cancelled, "withdrawn");
  return parts.join(", ");
}

export type RunAction = "pause" | "resume" | "cancel" | "retry" | "fork";

/** What a person may ask of a run in this status. The server has the last word. */
export function actionsOf(status: RunStatus): RunAction[] {
  switch (status) {
    case "queued":
    case "running":
    case "waiting":
      return ["fork", "pause", "cancel"];
    case "paused":
      return ["fork", "resume", "cancel"];
    case "cancelling":
      return ["fork"];
    case "failed":
      return ["fork", "retry"];
    case "succeeded":
    case "cancelled":
      return ["fork"];
  }
}

/** A run's id as people read it out: its last characters. The first ones tell the time, and are alike for runs of one hour. */
export const shortId = (id: string): string => id.slice(-5);
