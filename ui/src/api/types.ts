/** The shapes of the API as the page uses them. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export type RunStatus =
  | "queued"
  | "running"
  | "waiting"
  | "paused"
  | "cancelling"
  | "succeeded"
  | "failed"
  | "cancelled";
export type TaskStatus =
  | "ready"
  | "running"
  | "waiting"
  | "in_doubt"
  | "completed"
  | "failed"
  | "skipped"
  | "cancelled";

export type Page<T> = { items: T[]; next: string | null };

export type Fault = { pointer: string; code: string; message: string; suggestion: string | null };

export type GraphNode = {
  id: string;
  class: string;
  decides: boolean;
  effect: string | null;
  join: boolean;
  end: boolean;
  start: boolean;
};
export type EdgeKind = "next" | "label" | "route" | "error";
export type GraphEdge = { source: string; target: string; kind: EdgeKind; label: string | null; back: boolean };
export type Graph = { nodes: GraphNode[]; edges: GraphEdge[] };

export type Validation = { valid: boolean; faults: Fault[]; hints: Fault[]; graph: Graph | null };
export type SavedVersion = {
  name: string;
  version: number;
  created_at: string;
  created: boolean;
  hints: Fault[];
  hash: string;
};

export type RunError = {
  type: string;
  message: string;
  path: string | null;
  node: string | null;
  attempt: number | null;
  retryable: boolean | null;
  details: JsonObject | null;
};
export type Waker = {
  kind: string;
  path: string | null;
  node: string | null;
  sentence: string;
  at: string | null;
  name: string | null;
  run: string | null;
  worker: string | null;
};
export type TaskCounts = {
  total: number;
  completed: number;
  failed: number;
  skipped: number;
  running: number;
  waiting: number;
  in_doubt: number;
  ready: number;
  cancelled: number;
};

export type RunSummary = {
  id: string;
  workflow: string;
  version: number;
  status: RunStatus;
  error: RunError | null;
  labels: Record<string, string>;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  parent: { run: string; path: string } | null;
  forked_from: { run: string; seq: number } | null;
  waiting_for: { sentence: string; wakers: Waker[] } | null;
  seq: number;
  tasks: TaskCounts;
  duration_us: number | null;
};
export type Run = RunSummary & { input: Json; output: Json };

export type Decision = {
  chosen: { label: string | null; node: string }[];
  allowed: string[];
  reason: string | null;
  confidence: number | null;
  by: string;
  model: string | null;
  cost_usd: number | null;
};
export type Attempt = {
  attempt: number;
  worker: string | null;
  queued_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  error: RunError | null;
};
export type Step = {
  name: string;
  status: string;
  effect: string | null;
  at: string | null;
  duration_us: number | null;
  value?: Json;
  error?: RunError | null;
};
export type Task = {
  path: string;
  node: string;
  class: string;
  visit: number;
  status: TaskStatus;
  attempt: number;
  attempts: Attempt[];
  scheduled_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  duration_us: number | null;
  effect: string | null;
  decision: Decision | null;
  error: RunError | null;
  waiting_for: Waker | null;
  previous: string[];
  steps: Step[];
  output_bytes: number | null;
};
export type TaskDetail = Task & {
  params: Json;
  input: Json;
  output: Json;
  logs: { at: string; level: string; message: string }[];
};

/** A journal event: flat, with the fields of its kind beside these. */
export type JournalEvent = {
  seq: number;
  group: number;
  at: string;
  kind: string;
  path: string | null;
  node: string | null;
  [field: string]: Json | undefined;
};

/** A notice that is not in the journal: a task began, moved on, or logged. */
export type LiveNotice = {
  kind: string;
  path: string;
  node: string;
  at: string;
  attempt?: number | null;
  worker?: string | null;
  message?: string | null;
  done?: number | null;
  total?: number | null;
};

export type WorkflowSummary = {
  name: string;
  version: number;
  versions: number;
  description: string | null;
  labels: Record<string, string>;
  created_at: string;
  updated_at: string;
  last_run: RunSummary | null;
};
export type Workflow = {
  name: string;
  version: number;
  versions: number;
  document: JsonObject;
  text: string;
  graph: Graph;
  created_at: string;
  updated_at: string;
  hints: Fault[];
};
export type WorkflowVersion = { version: number; created_at: string; hash: string };

export type NodeClass = {
  name: string;
  title: string;
  summary: string;
  description: string;
  family: string;
  icon: string | null;
  effect: string;
  routes: string[] | "*" | null;
  decides: boolean;
  class_version: string | number;
  params_schema: JsonObject | null;
  output_schema: JsonObject | null;
  deterministic: boolean | null;
};

export type OutboxItem = {
  id: string;
  run: string;
  path: string;
  node: string;
  channel: string;
  to: string;
  subject: string;
  body: string;
  at: string;
  idempotency_key: string;
};

export type SystemInfo = { version: string; store: string; workers: Json[]; dev: boolean; started_at: string };

export type ProblemDetail = {
  type: string;
  title: string;
  status: number;
  detail: string | null;
  code: string;
  errors?: Fault[];
};
