/** Every call that the page makes, on the generated client. */
import { syntaxOf } from "@/rules/yaml";
import { answer } from "./client";
import * as sdk from "./generated";
import type {
  Explanation,
  ForkPlan,
  JournalEvent,
  Json,
  JsonObject,
  LaidPlan,
  NodeClass,
  Page,
  Run,
  RunStateAt,
  RunSummary,
  Task,
  TaskDetail,
  Workflow,
  WorkflowSummary,
} from "./types";

export type RunFilter = {
  status?: sdk.RunStatus[];
  workflow?: string;
  label?: string[];
  text?: string;
  parent?: string;
};

/** Which tasks of a run are listed. */
export type TaskFilter = { node?: string; status?: sdk.TaskStatus[]; of?: string; items?: boolean };

/** Where a fork is cut and what it changes; without `seq` where its decision was made. */
export type ForkAsked = {
  seq?: number;
  input?: Json;
  vars?: { [name: string]: Json };
  decisions?: { [path: string]: string[] };
  outputs?: { [path: string]: Json };
  version?: number;
};

/** The document goes out as it was typed: the server keeps the text. */
const asTyped = (text: string) => ({
  body: text as never,
  bodySerializer: (body: unknown) => body as string,
  ...(syntaxOf(text) === "yaml" && { headers: { "Content-Type": "application/yaml" } }),
});
const keyed = (idempotencyKey: string) => ({ headers: { "Idempotency-Key": idempotencyKey } });
/** The generated answers say `unknown` for values; they came as JSON, so they are JSON. */
const json = <T>(call: Parameters<typeof answer<unknown>>[0]): Promise<T> => answer(call) as Promise<T>;

export const api = {
  nodeClasses: () => json<Page<NodeClass>>(sdk.listNodeClasses()),
  workflowSchema: () => json<JsonObject>(sdk.getWorkflowSchema()),

  listWorkflows: (query: { text?: string; limit?: number }) =>
    json<Page<WorkflowSummary>>(sdk.listWorkflows({ query })),
  getWorkflow: (name: string) => json<Workflow>(sdk.getWorkflow({ path: { name } })),
  getVersion: (name: string, version: number) => json<Workflow>(sdk.getWorkflowVersion({ path: { name, version } })),
  listVersions: (name: string) => answer(sdk.listWorkflowVersions({ path: { name } })),
  saveWorkflow: (text: string) => answer(sdk.saveWorkflow(asTyped(text))),
  validate: (text: string, signal: AbortSignal) => answer(sdk.validateWorkflow({ ...asTyped(text), signal })),

  startRun: (
    name: string,
    body: { input?: Json; labels?: Record<string, string>; version?: number },
    idempotencyKey: string,
  ) => json<Run>(sdk.startRun({ path: { name }, body, ...keyed(idempotencyKey) })),
  listRuns: (filter: RunFilter, cursor: string | null, limit: number) =>
    json<Page<RunSummary>>(sdk.listRuns({ query: { ...filter, ...(cursor && { cursor }), limit } })),
  getRun: (id: string) => json<Run>(sdk.getRun({ path: { run_id: id } })),
  listTasks: (id: string, where: TaskFilter, cursor: string | null, limit: number) =>
    json<Page<Task>>(sdk.listTasks({ path: { run_id: id }, query: { ...where, limit, ...(cursor && { cursor }) } })),
  listPlans: (id: string) => json<Page<LaidPlan>>(sdk.listPlans({ path: { run_id: id }, query: { limit: 500 } })),
  explain: (id: string) => json<Explanation>(sdk.explainRun({ path: { run_id: id } })),
  getTask: (id: string, path: string) => json<TaskDetail>(sdk.getTask({ path: { run_id: id, path } })),
  readJournal: (id: string, after: number, limit: number) =>
    json<Page<JournalEvent>>(sdk.readJournal({ path: { run_id: id }, query: { after, limit } })),

  pause: (id: string) => json<Run>(sdk.pauseRun({ path: { run_id: id }, body: {} })),
  resume: (id: string) => json<Run>(sdk.resumeRun({ path: { run_id: id }, body: {} })),
  cancel: (id: string, reason: string) =>
    json<Run>(sdk.cancelRun({ path: { run_id: id }, body: reason ? { reason } : {} })),
  raiseBudget: (id: string, body: sdk.RaiseBudget) => json<Run>(sdk.raiseBudget({ path: { run_id: id }, body })),
  retry: (id: string) => json<Run>(sdk.retryRun({ path: { run_id: id }, body: {} })),
  fork: (id: string, body: ForkAsked) => json<Run>(sdk.forkRun({ path: { run_id: id }, body })),
  planFork: (id: string, body: ForkAsked) => json<ForkPlan>(sdk.planFork({ path: { run_id: id }, body })),
  importRun: (file: Blob) => json<{ run: Run; created: boolean }>(sdk.importRun({ body: file })),
  stateAt: (id: string, seq: number | null) =>
    json<RunStateAt>(sdk.getRunState({ path: { run_id: id }, query: { ...(seq !== null && { seq }) } })),
  signal: (id: string, name: string, payload: Json, idempotencyKey: string) =>
    answer(sdk.signalRun({ path: { run_id: id, name }, body: { payload }, ...keyed(idempotencyKey) })),
  resolve: (id: string, path: string, body: { action: sdk.Resolve["action"]; output?: Json; message?: string }) =>
    json<Run>(sdk.resolveTask({ path: { run_id: id, path }, body })),

  outbox: (run: string | null) => answer(sdk.listOutbox({ query: { ...(run && { run }), limit: 100 } })),

  session: () => answer(sdk.getSession()),
  openSession: (key: string) => answer(sdk.openSession({ body: { key } })),
};

const TASKS_MAX = 1000;
const OPEN: sdk.TaskStatus[] = ["ready", "running", "waiting", "in_doubt"];

/**
 * The tasks that the page can't know from the journal alone, items left out. Of a run with very many the first thousand,
 * those that are open, and those of the nodes `lists`, which have items.
 */
export async function tasksOf(id: string, lists: readonly string[]): Promise<Task[]> {
  const first = await api.listTasks(id, { items: false }, null, TASKS_MAX);
  if (first.next === null) return first.items;
  const open = api.listTasks(id, { items: false, status: OPEN }, null, TASKS_MAX);
  const more = await Promise.all([open, ...lists.map((node) => api.listTasks(id, { items: false, node }, null, 100))]);
  const found = new Map(first.items.map((task) => [task.path, task]));
  for (const page of more) for (const task of page.items) found.set(task.path, task);
  return [...found.values()];
}
