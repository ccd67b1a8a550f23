/**
 * What a run is at, folded from its journal: one task state per path, and which ways were taken.
 *
 * Live notices (a task began, moved on, logged) are laid over it; they carry no seq and are forgotten as soon as the
 * journal says more. Kinds that this page doesn't know change nothing but `seq`.
 *
 * Items of a `for_each` aren't kept: there may be 100,000 of them. Those that are open are known by path; how far all of
 * them are stands with the task that has them, as the server counted it.
 */
import type {
  Decision,
  ItemsSummary,
  JournalEvent,
  Json,
  LiveNotice,
  RunError,
  RunStatus,
  Task,
  TaskStatus,
} from "@/api/types";

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
  /** Of an item: its place in the list of its `for_each`. */
  item: number | null;
  /** Of a `for_each`: how far its items are, once they are known. */
  items: ItemsSummary | null;
  /** Whether it laid nodes into the run, and waits for them. */
  plan: boolean;
  /** Path of the task that this one takes back. */
  compensates: string | null;
  /** Why it was withdrawn; null if it wasn't. */
  withdrawn: string | null;
  /** Whether a worker without a lease had a result of what is in doubt. */
  late: boolean;
};

export type RunFold = {
  seq: number;
  startedAt: string | null;
  finishedAt: string | null;
  paused: boolean;
  /** Budgets that are spent and hold the run until they are raised. */
  spentOut: string[];
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
  /** Items that are open, by path: a window of each list. */
  openItems: Record<string, TaskState>;
  /** Whether the journal was read from somewhere behind its beginning: then not every task is known from it. */
  partial: boolean;
  /** How many plans were laid, as far as the journal was read. */
  plans: number;
  /** Of a run that hands over: the run that goes on for it. */
  continuedAs: string | null;
};

export const emptyFold = (): RunFold => ({
  seq: 0,
  startedAt: null,
  finishedAt: null,
  paused: false,
  spentOut: [],
  cancelling: false,
  cancelReason: null,
  ended: null,
  error: null,
  output: undefined,
  tasks: {},
  order: [],
  taken: {},
  openItems: {},
  partial: false,
  plans: 0,
  continuedAs: null,
});

/** The fold of a journal that is followed from behind `seq` on. */
export const foldFrom = (seq: number): RunFold => ({ ...emptyFold(), seq, partial: seq > 0 });

/** The node that a task is of, by its path: `plan@2/fetch` of `plan@2/fetch@3[17]`. */
export const nodeOfPath = (path: string): string => path.replace(/\[\d+\]$/, "").replace(/@\d+$/, "");
/** Whether the path is one of an item: `review@2[17]`. */
export const isItem = (path: string): boolean => path.endsWith("]");
/** The path of the task that an item belongs to. */
export const containerOf = (path: string): string => path.slice(0, path.lastIndexOf("["));

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
    item: isItem(path) ? Number(path.slice(path.lastIndexOf("[") + 1, -1)) : null,
    items: null,
    plan: false,
    compensates: null,
    withdrawn: null,
    late: false,
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
      fold.spentOut = [];
      fold.cancelling = false;
      reopen(fold, event);
      break;
    case "run_paused":
      fold.paused = true;
      break;
    case "run_resumed":
      fold.paused = false;
      break;
    case "budget_exceeded":
      if (event.action === "pause") fold.spentOut = [...fold.spentOut, text(event.budget) ?? ""];
      break;
    case "budget_raised":
      fold.spentOut = fold.spentOut.filter((one) => one !== event.budget);
      break;
    case "run_continued":
      fold.continuedAs = text(event.run);
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
    if (typeof path !== "string") continue;
    const known = fold.tasks[path];
    if (known) {
      const { items, compensates } = known;
      fold.tasks[path] = { ...fresh(path, known.node, known.visit), scheduledAt: event.at, items, compensates };
      if (items) fold.tasks[path].status = "waiting";
    } else if (isItem(path)) {
      const container = fold.tasks[containerOf(path)];
      if (container) fold.openItems[path] = { ...fresh(path, container.node, container.visit), scheduledAt: event.at };
    }
  }
}

function taskEvent(fold: RunFold, event: JournalEvent, path: string, node: string): void {
  const item = isItem(path);
  const among = item ? fold.openItems : fold.tasks;
  const before = among[path];
  if (!before && !item) fold.order.push(path);
  const task: TaskState = { ...(before ?? fresh(path, node, count(event.visit) ?? 1)) };
  among[path] = task;
  const timing = record(event.timing);
  const finish = (status: TaskStatus) => {
    task.status = status;
    task.plan = false;
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
      task.compensates = text(event.compensates);
      break;
    case "items_started":
      task.status = "waiting";
      task.startedAt = text(timing.started_at) ?? task.startedAt ?? task.scheduledAt;
      task.suspended = true;
      task.items = itemsBegun(count(event.count) ?? 0);
      break;
    case "graph_extended":
      task.status = "waiting";
      task.startedAt = text(timing.started_at) ?? task.startedAt ?? task.scheduledAt;
      task.suspended = true;
      task.plan = true;
      fold.plans += 1;
      break;
    case "plan_finished":
      task.status = "ready";
      task.plan = false;
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
      task.withdrawn = text(event.reason) ?? "withdrawn";
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
      task.late = event.late !== undefined && event.late !== null;
      break;
    case "task_resolved":
      task.late = false;
      if (event.action === "retry") Object.assign(task, fresh(path, node, task.visit), { scheduledAt: event.at });
      break;
    case "late_result_noted":
      task.late = true;
      break;
  }
  if (item && !isOpen(task.status)) delete fold.openItems[path];
}

const itemsBegun = (count: number): ItemsSummary => ({
  count,
  scheduled: 0,
  completed: 0,
  failed: 0,
  skipped: 0,
  running: 0,
  waiting: 0,
  in_doubt: 0,
  ready: 0,
  cancelled: 0,
  first_failures: [],
});

/** Lay a live notice on the fold: it can only say that an open task runs, and how far it is. */
export function applyNotice(fold: RunFold, notice: LiveNotice): RunFold {
  const among = isItem(notice.path) ? fold.openItems : fold.tasks;
  const task = among[notice.path];
  if (!task || fold.ended) return fold;
  if (task.status !== "ready" && task.status !== "waiting" && task.status !== "running") return fold;
  const next = { ...task, worker: notice.worker ?? task.worker };
  among[notice.path] = next;
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

/** A task as the server lists it, in the form of the fold. */
export function stateOf(task: Task): TaskState {
  return {
    ...fresh(task.path, task.node, task.visit),
    status: task.status,
    attempt: task.attempt,
    worker: task.attempts.at(-1)?.worker ?? null,
    scheduledAt: task.scheduled_at,
    startedAt: task.started_at,
    finishedAt: task.finished_at,
    decision: task.decision,
    error: task.error,
    message: task.status === "in_doubt" || task.status === "skipped" ? task.reason : null,
    withdrawn: task.status === "cancelled" ? (task.reason ?? "withdrawn") : null,
    items: task.items,
    compensates: task.compensates,
  };
}

/**
 * Add what the fold cannot know from the list of tasks: tasks of a fork's parent or of a part of the journal that was not
 * read, how far the items of a list are, and that a task runs right now though its notice came before this page was
 * open. Never takes back what the journal said.
 */
export function withTasks(fold: RunFold, tasks: readonly Task[]): RunFold {
  let merged: RunFold | null = null;
  const before: string[] = [];
  for (const task of tasks) {
    const known = fold.tasks[task.path];
    const begun = task.status === "running" && known?.status === "ready";
    const counted = task.items !== null && task.items !== known?.items;
    const unread = fold.partial && known?.scheduledAt === null;
    if (known && !begun && !counted && !unread) continue;
    merged ??= { ...fold, tasks: { ...fold.tasks }, order: [...fold.order], taken: { ...fold.taken } };
    if (!known) {
      const older = fold.startedAt !== null && (fold.partial || (task.scheduled_at ?? "") < fold.startedAt);
      (older ? before : merged.order).push(task.path);
      for (const path of task.previous) {
        merged.taken[way(nodeOfPath(path), task.node)] ??= 1;
      }
    }
    if (known && !begun) {
      const { decision, scheduled_at: scheduledAt, compensates, items } = task;
      merged.tasks[task.path] = {
        ...known,
        items,
        ...(unread && { decision: known.decision ?? decision, scheduledAt, compensates }),
      };
    } else merged.tasks[task.path] = { ...known, ...stateOf(task) };
  }
  if (merged && before.length > 0) merged.order = [...before, ...merged.order];
  return merged ?? fold;
}

const OPEN: ReadonlySet<TaskStatus> = new Set(["ready", "running", "waiting", "in_doubt"]);
export const isOpen = (status: TaskStatus): boolean => OPEN.has(status);

/** The run's status as the fold tells it; null while nothing is known. */
export function statusOf(fold: RunFold): RunStatus | null {
  if (fold.ended) return fold.ended;
  if (fold.seq === 0) return null;
  if (fold.cancelling) return "cancelling";
  if (fold.paused || fold.spentOut.length > 0) return "paused";
  if (fold.partial) return null;
  // A list is as far as its items: those are looked at, and not the task that waits for them.
  const open = [
    ...Object.values(fold.tasks).filter((task) => isOpen(task.status) && task.items === null && !task.plan),
    ...Object.values(fold.openItems),
  ];
  if (open.length > 0 && open.every((task) => task.status === "waiting" || task.status === "in_doubt")) {
    return open.some((task) => task.retryAt === null) ? "waiting" : "running";
  }
  return "running";
}

/** What is shown of a task: of one with items how these are, most urgent first. */
export function shownStatus(task: TaskState, fold: RunFold): TaskStatus {
  const { items, status } = task;
  if (task.plan && status === "waiting") return inBlock(task.path, fold) ? "running" : status;
  if (!items || !isOpen(status)) return status;
  if (items.in_doubt > 0) return "in_doubt";
  const held = fold.paused || fold.spentOut.length > 0;
  if (items.running > 0 || (!held && (items.ready > 0 || items.waiting === 0))) return "running";
  return items.waiting > 0 ? "waiting" : "ready";
}

/** Whether something that this task laid is at work. */
const inBlock = (path: string, fold: RunFold): boolean =>
  [...Object.values(fold.tasks), ...Object.values(fold.openItems)].some(
    (task) => task.path.startsWith(`${path}/`) && (task.status === "running" || task.status === "ready"),
  );

/** How many items have their place in the list. */
export const itemsDone = (items: ItemsSummary): number => items.completed + items.skipped + items.failed;

/** A wide list in words: "412 of 1,180". */
export const itemsWords = (items: ItemsSummary): string =>
  `${itemsDone(items).toLocaleString("en")} of ${items.count.toLocaleString("en")}`;

/** The task of each node that matters now: its latest visit. */
export function latestByNode(fold: RunFold): Record<string, TaskState> {
  const latest: Record<string, TaskState> = {};
  for (const path of fold.order) {
    const task = fold.tasks[path];
    if (task) latest[task.node] = task;
  }
  return latest;
}
