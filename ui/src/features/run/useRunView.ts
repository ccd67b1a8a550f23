/** Everything that a view of one run needs, in one place: the run, its tasks, its own version's graph, its live feed. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import {
  childrenQuery,
  classesQuery,
  explainQuery,
  plansQuery,
  runQuery,
  tasksQuery,
  versionQuery,
} from "@/api/queries";
import type { Graph, LaidPlan, NodeClass, Run, RunSummary, Task, WaitingJoin, Workflow } from "@/api/types";
import { type RunFeed, useRunFeed } from "@/api/useRunFeed";
import { type RunFold, statusOf, withTasks } from "@/rules/fold";
import { isTerminal } from "@/rules/status";

export type RunView = {
  run: Run | null;
  error: Error | null;
  tasks: readonly Task[];
  feed: RunFeed;
  fold: RunFold;
  workflow: Workflow | null;
  graph: Graph | null;
  classes: readonly NodeClass[];
  /** The joins at which arrivals wait, by node. */
  joins: Readonly<Record<string, WaitingJoin>>;
  /** What tasks laid into the run, in that order. */
  plans: readonly LaidPlan[];
  /** The runs that tasks of this one started; the newest hundred. */
  children: readonly RunSummary[];
};

const NO_JOINS: Readonly<Record<string, WaitingJoin>> = {};
const NO_PLANS: readonly LaidPlan[] = [];
const NO_RUNS: readonly RunSummary[] = [];
const NO_TASKS: readonly Task[] = [];
const NO_CLASSES: readonly NodeClass[] = [];

export function useRunView(id: string | null): RunView {
  const runAnswer = useQuery({ ...runQuery(id ?? ""), enabled: id !== null });
  const asked = id === null ? null : (runAnswer.data ?? null);
  const workflow =
    useQuery({ ...versionQuery(asked?.workflow ?? "", asked?.version ?? 0), enabled: asked !== null }).data ?? null;
  const graph = workflow?.graph ?? null;
  const lists = useMemo(() => graph?.nodes.flatMap((node) => (node.for_each ? [node.id] : [])) ?? [], [graph]);
  const tasks =
    useQuery({ ...tasksQuery(id ?? "", lists), enabled: id !== null && graph !== null, placeholderData: sameRun(id) })
      .data ?? NO_TASKS;
  const classes = useQuery(classesQuery).data ?? NO_CLASSES;
  const feed = useRunFeed(id, asked);
  const fold = useMemo(() => withTasks(feed.fold, tasks), [feed.fold, tasks]);
  // The journal is ahead of the last answer, or it is not: whoever knows more events says what the status is.
  const run = useMemo(() => {
    if (!asked) return null;
    const status = feed.fold.seq >= asked.seq ? statusOf(fold) : null;
    return status && status !== asked.status ? { ...asked, status } : asked;
  }, [asked, feed.fold.seq, fold]);
  const joining = run !== null && !isTerminal(run.status) && (graph?.nodes.some((node) => node.join) ?? false);
  const explained = useQuery({ ...explainQuery(id ?? ""), enabled: joining, placeholderData: (before) => before }).data;
  const joins = useMemo(() => {
    const waiting = joining ? (explained?.data.joins ?? []) : [];
    return waiting.length > 0 ? Object.fromEntries(waiting.map((one) => [one.node, one])) : NO_JOINS;
  }, [joining, explained]);
  const mayPlan = feed.fold.plans > 0 || feed.fold.partial || (asked?.forked_from ?? null) !== null;
  const plans =
    useQuery({
      ...plansQuery(id ?? "", feed.fold.plans),
      enabled: asked !== null && mayPlan,
      placeholderData: sameRun(id),
    }).data ?? NO_PLANS;
  const children = useQuery({ ...childrenQuery(id ?? ""), enabled: asked !== null }).data?.items ?? NO_RUNS;
  return { run, error: runAnswer.error, tasks, feed, fold, workflow, graph, classes, joins, plans, children };
}

/** While a list is asked for again under other words, the one before stays, if it is of the same run. */
const sameRun =
  (id: string | null) =>
  <T>(before: T | undefined, query: { queryKey: readonly unknown[] } | undefined): T | undefined =>
    query?.queryKey[2] === id ? before : undefined;
