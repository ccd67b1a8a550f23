/** What the page knows of the server, and under which keys; a key's first word says what it is about. */
import { QueryClient, queryOptions } from "@tanstack/react-query";
import { api, tasksOf } from "./calls";
import { ApiProblem } from "./client";

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      refetchOnWindowFocus: true,
      retry: (count, error) => !(error instanceof ApiProblem && error.status >= 400 && error.status < 500) && count < 3,
    },
  },
});

export const classesQuery = queryOptions({
  queryKey: ["node-classes"],
  queryFn: async () => (await api.nodeClasses()).items,
  staleTime: 15_000,
});
export const schemaQuery = queryOptions({ queryKey: ["schema"], queryFn: api.workflowSchema, staleTime: 60_000 });
export const workflowsQuery = (text = "") =>
  queryOptions({
    queryKey: ["workflows", "list", text],
    queryFn: async () => (await api.listWorkflows({ ...(text && { text }), limit: 100 })).items,
  });
export const workflowQuery = (name: string) =>
  queryOptions({ queryKey: ["workflows", "one", name], queryFn: () => api.getWorkflow(name) });
export const versionQuery = (name: string, version: number) =>
  queryOptions({
    queryKey: ["workflows", "version", name, version],
    queryFn: () => api.getVersion(name, version),
    staleTime: Number.POSITIVE_INFINITY,
  });
export const versionsQuery = (name: string) =>
  queryOptions({
    queryKey: ["workflows", "versions", name],
    queryFn: async () => (await api.listVersions(name)).items,
  });
export const runQuery = (id: string) => queryOptions({ queryKey: ["runs", "one", id], queryFn: () => api.getRun(id) });
export const tasksQuery = (id: string, lists: readonly string[] = []) =>
  queryOptions({ queryKey: ["runs", "tasks", id, lists], queryFn: () => tasksOf(id, lists) });
export const explainQuery = (id: string) =>
  queryOptions({ queryKey: ["runs", "explain", id], queryFn: () => api.explain(id) });
/** What tasks of the run laid into it; asked for again when there are more. */
export const plansQuery = (id: string, known: number) =>
  queryOptions({ queryKey: ["runs", "plans", id, known], queryFn: async () => (await api.listPlans(id)).items });
/** The runs that tasks of this run started, newest first; the first hundred. */
export const childrenQuery = (id: string) =>
  queryOptions({ queryKey: ["runs", "children", id], queryFn: () => api.listRuns({ parent: id }, null, 100) });
export const taskQuery = (id: string, path: string) =>
  queryOptions({ queryKey: ["runs", "task", id, path], queryFn: () => api.getTask(id, path) });
export const lastRunQuery = (workflow: string) =>
  queryOptions({
    queryKey: ["runs", "last", workflow],
    queryFn: async () => (await api.listRuns({ workflow }, null, 1)).items[0] ?? null,
  });
export const outboxQuery = (run: string | null) =>
  queryOptions({ queryKey: ["outbox", run], queryFn: async () => (await api.outbox(run)).items });
