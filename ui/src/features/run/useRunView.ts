/** Everything that a view of one run needs, in one place: the run, its tasks, its own version's graph, its live feed. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { classesQuery, runQuery, tasksQuery, versionQuery } from "@/api/queries";
import type { Graph, NodeClass, Run, Task, Workflow } from "@/api/types";
import { type RunFeed, useRunFeed } from "@/api/useRunFeed";
import { type RunFold, statusOf, withTasks } from "@/rules/fold";

export type RunView = {
  run: Run | null;
  error: Error | null;
  tasks: readonly Task[];
  feed: RunFeed;
  fold: RunFold;
  workflow: Workflow | null;
  graph: Graph | null;
  classes: readonly NodeClass[];
};

const NO_TASKS: readonly Task[] = [];
const NO_CLASSES: readonly NodeClass[] = [];

export function useRunView(id: string | null): RunView {
  const runAnswer = useQuery({ ...runQuery(id ?? ""), enabled: id !== null });
  const tasks = useQuery({ ...tasksQuery(id ?? ""), enabled: id !== null }).data ?? NO_TASKS;
  const classes = useQuery(classesQuery).data ?? NO_CLASSES;
  const feed = useRunFeed(id, runAnswer.data?.seq ?? 0);
  const asked = id === null ? null : (runAnswer.data ?? null);
  const workflow =
    useQuery({ ...versionQuery(asked?.workflow ?? "", asked?.version ?? 0), enabled: asked !== null }).data ?? null;
  const fold = useMemo(() => withTasks(feed.fold, tasks), [feed.fold, tasks]);
  // The journal is ahead of the last answer, or it is not: whoever knows more events says what the status is.
  const run = useMemo(() => {
    if (!asked) return null;
    const status = feed.fold.seq >= asked.seq ? statusOf(fold) : null;
    return status && status !== asked.status ? { ...asked, status } : asked;
  }, [asked, feed.fold.seq, fold]);
  return { run, error: runAnswer.error, tasks, feed, fold, workflow, graph: workflow?.graph ?? null, classes };
}
