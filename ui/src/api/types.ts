/** The API's shapes, generated from its OpenAPI; where that says "anything" the page says "any JSON". */
import type * as G from "./generated";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export type {
  Attempt,
  Budget,
  Decision,
  Fault,
  ForkPlan,
  Graph,
  GraphEdge,
  GraphNode,
  ItemsSummary,
  OutboxItem,
  RunStatus,
  SavedVersion,
  TaskCounts,
  TaskStatus,
  Validation,
  Waker,
  WorkflowVersion,
} from "./generated";

export type Page<T> = { items: T[]; next: string | null };

type Narrow<T, Change> = Omit<T, keyof Change> & Change;

export type RunError = Narrow<Required<G.RunError>, { details: JsonObject | null }>;
export type RunSummary = Narrow<G.RunSummary, { error: RunError | null }>;
export type Run = Narrow<G.Run, { error: RunError | null; input: Json; output: Json }>;
export type Step = Narrow<G.Step, { value?: Json; error?: RunError | null }>;
export type Task = Narrow<G.Task, { error: RunError | null; steps: Step[] }>;
export type TaskDetail = Narrow<
  G.TaskDetail,
  { error: RunError | null; steps: Step[]; params: Json; input: Json; output: Json; late?: Json }
>;
export type Workflow = Narrow<G.Workflow, { document: JsonObject }>;
/** Nodes that a task laid into its run; the ids of its graph are those of the run's tasks. */
export type LaidPlan = Narrow<G.LaidPlan, { nodes: { [id: string]: JsonObject } }>;
/** What a run knew at a seq, as far as the page asks. */
export type RunStateAt = Narrow<G.RunState, { variables: JsonObject }>;
/** A join at which arrivals wait; `wants` null: for all that can still come. */
export type WaitingJoin = { node: string; has: number; wants: number | null; sentence: string };
export type Explanation = Narrow<G.Explanation, { data: { joins?: WaitingJoin[] } }>;
export type WorkflowSummary = Narrow<G.WorkflowSummary, { last_run: RunSummary | null }>;
export type NodeClass = Narrow<G.NodeClass, { params_schema: JsonObject | null; output_schema: JsonObject | null }>;

/** A journal event: flat, with the fields of its kind beside these. Fields with their default are left out. */
export type JournalEvent = Narrow<
  G.JournalEvent,
  { path?: string | null; node?: string | null; [field: string]: Json | undefined }
> & { seq: number; group: number; at: string; kind: string; path?: string | null; node?: string | null };

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
