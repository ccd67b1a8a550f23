/** The one sentence above a run's graph: why it failed (root first), who must decide, or what it waits for. */
import type { Run, RunSummary, Task } from "@/api/types";
import { spentSentence } from "./budget";
import type { RunFold } from "./fold";
import { localTimes } from "./time";

export type BannerAction = "retry" | "resolve" | "signal" | "resume" | "raise" | null;
export type Banner = {
  tone: "fail" | "wait" | "doubt" | "idle";
  title: string;
  detail: string;
  node: string | null;
  /** The task that it is about, where a node isn't enough. */
  path: string | null;
  action: BannerAction;
  signal: string | null;
  run: string | null;
};

const plain = (tone: Banner["tone"], title: string, detail = ""): Banner => ({
  tone,
  title,
  detail,
  node: null,
  path: null,
  action: null,
  signal: null,
  run: null,
});

const sentence = (text: string): string => (/[.!?…]$/.test(text) || text === "" ? text : `${text}.`);

/** The error that came first: later ones are often only its consequence. */
export function rootError(
  run: Run | RunSummary,
  fold: RunFold,
  tasks: readonly Task[],
): { node: string | null; message: string; attempt: number | null; type: string } | null {
  const first = Object.values(fold.tasks)
    .filter((task) => task.status === "failed" && task.error)
    .sort((a, b) => (a.finishedAt ?? "").localeCompare(b.finishedAt ?? ""))[0];
  const error = run.error ?? fold.error ?? first?.error ?? null;
  if (!error) return null;
  const node = error.node ?? first?.node ?? null;
  const tries =
    tasks.find((task) => task.node === node && task.status === "failed")?.attempt ?? first?.attempt ?? error.attempt;
  return { node, message: error.message, attempt: tries, type: error.type };
}

/** What the server says the run waits for, with its times as this page's other times. */
const waits = (run: RunSummary | Run): string =>
  localTimes(
    run.waiting_for?.sentence ?? "",
    (run.waiting_for?.wakers ?? []).map((one) => one.at),
  );

/** How far a run that ended badly has taken back what it did. */
function takenBack(run: RunSummary | Run): string {
  const { compensation: all } = run;
  if (!all) return "";
  const failed = all.failed > 0 ? `, ${all.failed} of them failed` : "";
  return all.left > 0
    ? `Takes back what it did: ${all.total - all.left} of ${all.total} so far${failed}.`
    : `Taken back: ${all.completed} of ${all.total}${failed ? `; ${all.failed} failed` : ""}.`;
}

export function bannerOf(run: Run | RunSummary, fold: RunFold, tasks: readonly Task[]): Banner | null {
  if (run.status === "failed") {
    const error = rootError(run, fold, tasks);
    if (!error) return { ...plain("fail", "The run failed"), action: "retry" };
    const tries = error.attempt && error.attempt > 1 ? ` after ${error.attempt} tries` : "";
    return {
      ...plain(
        "fail",
        error.node ? `${error.node} failed${tries}` : `The run failed: ${error.type}`,
        [sentence(error.message), takenBack(run)].filter(Boolean).join(" "),
      ),
      node: error.node,
      action: "retry",
    };
  }
  const doubt = [...Object.values(fold.tasks), ...Object.values(fold.openItems)].find(
    (task) => task.status === "in_doubt",
  );
  if (doubt) {
    return {
      ...plain(
        "doubt",
        `${doubt.item === null ? doubt.node : doubt.path} is in doubt`,
        `${sentence(doubt.message ?? "Its last attempt began, and nobody knows how it ended")} ${
          doubt.late ? "A result came too late and decides nothing: look at it, then say" : "Say"
        } what happened.`,
      ),
      node: doubt.node,
      path: doubt.path,
      action: "resolve",
    };
  }
  const waiting = run.waiting_for;
  const spent = (waiting?.wakers ?? []).flatMap((one) => (one.kind === "budget" && one.name ? [one.name] : []));
  const caps = spent.length > 0 ? spent : fold.spentOut;
  if (run.status === "paused" && caps.length > 0 && "budget" in run) {
    const said = spentSentence(run.budget, caps);
    return { ...plain("idle", said.title, said.detail), action: "raise" };
  }
  if (run.status === "paused")
    return { ...plain("idle", waits(run) || "Paused: nothing new starts"), action: "resume" };
  if (run.status === "cancelling") return plain("idle", waits(run) || "Cancelling: running tasks are asked to end");
  if (run.status === "queued") return plain("idle", waits(run) || "Waits for a worker");
  const reason = run.cancelled_for ?? fold.cancelReason;
  if (run.status === "cancelled" && (reason || run.compensation))
    return plain("idle", reason ? `Cancelled: ${reason}` : "Cancelled", takenBack(run));
  if (run.status === "waiting") {
    const wakers = waiting?.wakers ?? [];
    const signal = wakers.find((one) => one.kind === "signal");
    const child = wakers.find((one) => one.kind === "child");
    return {
      ...plain("wait", waits(run) || "Waits"),
      node: wakers[0]?.node ?? null,
      action: signal ? "signal" : null,
      signal: signal?.name ?? null,
      run: child?.run ?? null,
    };
  }
  return null;
}

const waitsForItems = (run: RunSummary): boolean => (run.waiting_for?.wakers ?? []).some((one) => one.kind === "items");

/** What a row of the runs list says: what it does now, or how it ended. */
export function rowSentence(run: RunSummary): { text: string; tone: "plain" | "quiet" | "wait" | "fail" | "doubt" } {
  if (run.status === "failed") {
    const { error } = run;
    return {
      text: error ? `${error.node ? `${error.node}: ` : ""}${error.message || error.type}` : "Failed",
      tone: "fail",
    };
  }
  if (run.status === "waiting") {
    return {
      text: waits(run) || "Waits",
      tone: run.tasks.in_doubt > 0 || /in doubt/.test(run.waiting_for?.sentence ?? "") ? "doubt" : "wait",
    };
  }
  if (run.waiting_for?.sentence && run.status !== "running") return { text: waits(run), tone: "plain" };
  if (run.status === "running") {
    if (waitsForItems(run)) return { text: waits(run), tone: "plain" };
    const { tasks } = run;
    const done = tasks.completed + tasks.skipped;
    return { text: tasks.running > 0 ? `${tasks.running} running, ${done} done` : `${done} done`, tone: "plain" };
  }
  if (run.status === "queued") return { text: "Waits for a worker", tone: "plain" };
  const why = run.cancelled_for ?? run.error?.message;
  if (run.status === "cancelled" && why) return { text: why, tone: "quiet" };
  if (run.status === "succeeded" && run.continued_as) return { text: "Went on as another run", tone: "quiet" };
  // The status stands beside it: this says how far the run came.
  const none = run.status === "cancelled" ? "before its first task" : "Done";
  return {
    text: run.tasks.total > 0 ? `${run.tasks.completed} of ${run.tasks.total} tasks done` : none,
    tone: "quiet",
  };
}
