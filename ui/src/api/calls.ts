/** Every call that the page makes, by the name of its operation. */
import { part, type Query, request, taskPart } from "./client";
import type {
  Fault,
  JournalEvent,
  Json,
  JsonObject,
  NodeClass,
  OutboxItem,
  Page,
  Run,
  RunSummary,
  SavedVersion,
  SystemInfo,
  Task,
  TaskDetail,
  Validation,
  Workflow,
  WorkflowSummary,
  WorkflowVersion,
} from "./types";

export type RunFilter = {
  status?: readonly string[];
  workflow?: string;
  label?: readonly string[];
  text?: string;
  created_after?: string;
};

export const api = {
  system: () => request<SystemInfo>("GET", "/system"),
  nodeClasses: () => request<Page<NodeClass>>("GET", "/node-classes"),
  workflowSchema: () => request<JsonObject>("GET", "/schemas/workflow"),

  listWorkflows: (query: Query = {}) => request<Page<WorkflowSummary>>("GET", "/workflows", { query }),
  getWorkflow: (name: string) => request<Workflow>("GET", `/workflows/${part(name)}`),
  getVersion: (name: string, version: number) =>
    request<Workflow>("GET", `/workflows/${part(name)}/versions/${version}`),
  listVersions: (name: string) => request<Page<WorkflowVersion>>("GET", `/workflows/${part(name)}/versions`),
  saveWorkflow: (text: string) => request<SavedVersion>("POST", "/workflows", { text }),
  deleteWorkflow: (name: string) => request<void>("DELETE", `/workflows/${part(name)}`),
  validate: (text: string, signal?: AbortSignal) =>
    request<Validation>("POST", "/workflows/validate", signal ? { text, signal } : { text }),

  startRun: (
    name: string,
    body: { input?: Json; labels?: Record<string, string>; version?: number },
    idempotencyKey: string,
  ) => request<Run>("POST", `/workflows/${part(name)}/runs`, { body, idempotencyKey }),
  listRuns: (filter: RunFilter, cursor: string | null, limit: number) =>
    request<Page<RunSummary>>("GET", "/runs", { query: { ...filter, cursor, limit } }),
  getRun: (id: string) => request<Run>("GET", `/runs/${part(id)}`),
  listTasks: (id: string) => request<Page<Task>>("GET", `/runs/${part(id)}/tasks`, { query: { limit: 1000 } }),
  getTask: (id: string, path: string) => request<TaskDetail>("GET", `/runs/${part(id)}/tasks/${taskPart(path)}`),
  readJournal: (id: string, after: number, limit: number) =>
    request<Page<JournalEvent>>("GET", `/runs/${part(id)}/journal`, { query: { after, limit } }),

  pause: (id: string) => request<Run>("POST", `/runs/${part(id)}/pause`, { body: {} }),
  resume: (id: string) => request<Run>("POST", `/runs/${part(id)}/resume`, { body: {} }),
  cancel: (id: string, reason: string) =>
    request<Run>("POST", `/runs/${part(id)}/cancel`, { body: reason ? { reason } : {} }),
  retry: (id: string) => request<Run>("POST", `/runs/${part(id)}/retry`, { body: {} }),
  fork: (id: string, seq: number, patch: { input?: Json; variables?: JsonObject; version?: number }) =>
    request<Run>("POST", `/runs/${part(id)}/fork`, { body: { seq, patch } }),
  signal: (id: string, name: string, payload: Json, idempotencyKey: string) =>
    request<{ run: string; name: string; seq: number }>("POST", `/runs/${part(id)}/signals/${part(name)}`, {
      body: { payload },
      idempotencyKey,
    }),
  resolve: (id: string, path: string, body: { action: string; output?: Json; message?: string }) =>
    request<Run>("POST", `/runs/${part(id)}/tasks/${taskPart(path)}/resolve`, { body }),

  outbox: (run: string | null) => request<Page<OutboxItem>>("GET", "/outbox", { query: { run, limit: 100 } }),
};

export type { Fault };
