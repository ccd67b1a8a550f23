/**
 * What a run is at, folded from its journal: one task state per path, and which ways were taken.
 *
 * Live notices (a task began, moved on, logged) are laid over it; they carry no seq and are forgotten as soon as the
 * journal says more. Kinds that this page doesn't know change nothing but `seq`.
 */
import type { Decision, JournalEvent, Json, LiveNotice, RunError, RunStatus, Task, TaskStatus } from "@/api/types";

export type TaskState = {
  path: string;
  node: string;
  visit: number;
  status: TaskStatus;
  attempt: number;
  worker: string | null;
  scheduledAt: string | null;
  startedAt: string | null;
  finishedAt: string | null;
  /** Whether it waited in between: then its work began when it was first scheduled. */
  suspended: boolean;
  /** When the next try is due, while a failed attempt is tried again. */
  retryAt: string | null;
  decision: Decision | null;
  error: RunError | null;
  /** The latest word from the running task, and how far it says it is. */
  message: string | null;
  done: number | null;
  total: number | null;
};

export type RunFold = {
  seq: number;
  startedAt: string | null;
  finishedAt: string | null;
  paused: boolean;
  cancelling: boolean;
  /** What the person who cancelled it said. */
  cancelReason: string | null;
  ended: RunStatus | null;
  error: RunError | null;
  output: Json | undefined;
  tasks: Record<string, TaskState>;
  /** Paths in the order they were scheduled. */
  order: string[];
  /** `source>target` of every way that an arrival went. */
  taken: Record<string, number>;
};

export const emptyFold = (): RunFold => ({
  seq: 0,
  startedAt: null,
  finishedAt: null,
  paused: false,
  cancelling: false,
  cancelReason: null,
  ended: null,
  error: null,
  output: undefined,
  tasks: {},
  order: [],
  taken: {},
});

export const way = (source: string, target: string): string => `${source}>${target}`;

const text = (value: Json | undefined): string | null => (typeof value === "string" && value !== "" ? value : null);
const count = (value: Json | undefined): number | null => (typeof value === "number" ? value : null);
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);
const record = (value: Json | undefined): Record<string, Json> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

export function errorOf(value: Json | undefined): RunError | null {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  return {
    type: text(value.type) ?? "error",
    message: text(value.message) ?? "",
    path: text(value.path),
    node: text(value.node),
    attempt: count(value.attempt),
    retryable: typeof value.retryable === "boolean" ? value.retryable : null,
    details: value.details ? record(value.details) : null,
  };
}

export function decisionOf(event: JournalEvent): Decision {
  return {
    chosen: list(event.chosen).map((one) => ({ node: text(record(one).node) ?? "", label: text(record(one).label) })),
    allowed: list(event.allowed).filter((one): one is string => typeof one === "string"),
    reason: text(event.reason),
    confidence: count(event.confidence),
    by: text(event.by) ?? "rule",
    model: text(event.model),
    cost_usd: count(event.cost_usd),
  };
}

const isoOf = (us: number): string => new Date(us / 1000).toISOString();

function fresh(path: string, node: string, visit: number): TaskState {
  return {
    path,
    node,
    visit,
    status: "ready",
    attempt: 1,
    worker: null,
    scheduledAt: null,
    startedAt: null,
    finishedAt: null,
    suspended: false,
    retryAt: null,
    decision: null,
    error: null,
    message: null,
    done: null,
    total: null,
  };
}

/** Lay one journal event on the fold. The fold given is changed and returned; events at or below its seq are ignored. */
export function applyEvent(fold: RunFold, event: JournalEvent): RunFold {
  if (event.seq <= fold.seq) return fold;
  fold.seq = event.seq;
  if (event.path && event.node) taskEvent(fold, event, event.path, event.node);
  else runEvent(fold, event);
  return fold;
}

function runEvent(fold: RunFold, event: JournalEvent): void {
  switch (event.kind) {
    case "run_started":
      fold.startedAt = event.at;
      fold.finishedAt = null;
      fold.ended = null;
      fold.paused = false;
      fold.cancelling = false;
      reopen(fold, event);
      break;
    case "run_paused":
      fold.paused = true;
      break;
    case "run_resumed":
      fold.paused = false;
      break;
    case "cancel_requested":
      fold.cancelling = true;
      fold.cancelReason = text(event.reason);
      break;
    case "run_retried":
      fold.ended = null;
      fold.finishedAt = null;
      fold.error = null;
      fold.cancelling = false;
      reopen(fold, event);
      break;
    case "run_succeeded":
    case "run_failed":
    case "run_cancelled":
      fold.ended = event.kind.slice(4) as RunStatus;
      fold.finishedAt = event.at;
      fold.output = event.output;
      fold.error = errorOf(event.error);
      break;
  }
}

function reopen(fold: RunFold, event: JournalEvent): void {
  for (const path of list(event.reopened)) {
    const task = typeof path === "string" ? fold.tasks[path] : undefined;
    if (!task) continue;
    fold.tasks[task.path] = { ...fresh(task.path, task.node, task.visit), scheduledAt: event.at };
  }
}

function taskEvent(fold: RunFold, event: JournalEvent, path: string, node: string): void {
  const before = fold.tasks[path];
  if (!before) fold.order.push(path);
  const task: TaskState = { ...(before ?? fresh(path, node, count(event.visit) ?? 1)) };
  fold.tasks[path] = task;
  const timing = record(event.timing);
  const finish = (status: TaskStatus) => {
    task.status = status;
    task.finishedAt = event.at;
    if (!task.suspended) task.startedAt = text(timing.started_at) ?? task.startedAt;
    task.worker = text(timing.worker) ?? task.worker;
    task.attempt = count(event.attempt) ?? task.attempt;
    task.retryAt = null;
    task.message = null;
    for (const target of list(event.arrivals)) {
      const key = way(node, String(target));
      fold.taken[key] = (fold.taken[key] ?? 0) + 1;
    }
  };
  switch (event.kind) {
    case "task_scheduled":
      task.scheduledAt = event.at;
      break;
    case "task_started":
      task.status = "running";
      task.startedAt = event.at;
      task.attempt = count(event.attempt) ?? task.attempt;
      task.worker = text(event.worker) ?? task.worker;
      break;
    case "decision_made":
      task.decision = decisionOf(event);
      break;
    case "task_completed":
      finish("completed");
      task.error = null;
      break;
    case "task_failed": {
      finish("failed");
      task.error = errorOf(event.error);
      const retry = count(event.retry_us);
      if (retry !== null || event.deferred === true) {
        task.status = "waiting";
        task.finishedAt = null;
        task.startedAt = null;
        task.retryAt = retry === null ? null : isoOf(retry);
        task.attempt += event.deferred === true ? 0 : 1;
      }
      break;
    }
    case "task_skipped":
      finish("skipped");
      task.message = text(event.reason);
      break;
    case "task_cancelled":
      finish("cancelled");
      break;
    case "task_suspended":
      task.status = "waiting";
      task.suspended = true;
      task.startedAt ??= task.scheduledAt;
      task.attempt = count(event.attempt) ?? task.attempt;
      break;
    case "task_resumed":
      task.status = "ready";
      break;
    case "task_in_doubt":
      task.status = "in_doubt";
      task.message = text(event.reason);
      break;
    case "task_resolved":
      if (event.action === "retry") Object.assign(task, fresh(path, node, task.visit), { scheduledAt: event.at });
      break;
  }
}

/** Lay a live notice on the fold: it can only say that an open task runs, and how far it is. */
export function applyNotice(fold: RunFold, notice: LiveNotice): RunFold {
  const task = fold.tasks[notice.path];
  if (!task || fold.ended) return fold;
  if (task.status !== "ready" && task.status !== "waiting" && task.status !== "running") return fold;
  const next = { ...task, worker: notice.worker ?? task.worker };
  fold.tasks[notice.path] = next;
  if (notice.kind === "task_started") {
    next.status = "running";
    if (!next.suspended) next.startedAt = notice.at;
    next.retryAt = null;
    next.attempt = notice.attempt ?? next.attempt;
  }
  if (notice.message) next.message = notice.message;
  if (notice.done !== undefined && notice.done !== null) next.done = notice.done;
  if (notice.total !== undefined && notice.total !== null) next.total = notice.total;
  return fold;
}

/**
 * Add what the fold cannot know from the list of tasks: tasks of a fork's parent, and that a task runs right now though
 * its notice came before this page was open. Never takes back what the journal said.
 */
export function withTasks(fold: RunFold, tasks: readonly Task[]): RunFold {
  let merged: RunFold | null = null;
  for (const task of tasks) {
    const known = fold.tasks[task.path];
    if (known && !(task.status === "running" && known.status === "ready")) continue;
    merged ??= { ...fold, tasks: { ...fold.tasks }, order: [...fold.order], taken: { ...fold.taken } };
    if (!known) {
      merged.order.push(task.path);
      for (const path of task.previous) {
        const source = path.split("@")[0] ?? path;
        merged.taken[way(source, task.node)] ??= 1;
      }
    }
    merged.tasks[task.path] = {
      ...(known ?? fresh(task.path, task.node, task.visit)),
      status: task.status,
      attempt: task.attempt,
      worker: task.attempts.at(-1)?.worker ?? null,
      scheduledAt: task.scheduled_at,
      startedAt: task.started_at,
      finishedAt: task.finished_at,
      decision: task.decision,
      error: task.error,
    };
  }
  return merged ?? fold;
}

const OPEN: ReadonlySet<TaskStatus> = new Set(["ready", "running", "waiting", "in_doubt"]);
export const isOpen = (status: TaskStatus): boolean => OPEN.has(status);

/** The run's status as the fold tells it; null while nothing is known. */
export function statusOf(fold: RunFold): RunStatus | null {
  if (fold.ended) return fold.ended;
  if (fold.seq === 0) return null;
  if (fold.cancelling) return "cancelling";
  if (fold.paused) return "paused";
  const open = Object.values(fold.tasks).filter((task) => isOpen(task.status));
  if (open.length > 0 && open.every((task) => task.status === "waiting" || task.status === "in_doubt")) {
    return open.some((task) => task.retryAt === null) ? "waiting" : "running";
  }
  return "running";
}

/** The task of each node that matters now: its latest visit. */
export function latestByNode(fold: RunFold): Record<string, TaskState> {
  const latest: Record<string, TaskState> = {};
  for (const path of fold.order) {
    const task = fold.tasks[path];
    if (task) latest[task.node] = task;
  }
  return latest;
}
