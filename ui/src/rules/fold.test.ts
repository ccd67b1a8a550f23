import { describe, expect, test } from "vitest";
import type { JournalEvent, Task } from "@/api/types";
import { applyEvent, applyNotice, emptyFold, latestByNode, statusOf, way, withTasks } from "./fold";
import { at, journal, us } from "./testing";

const fold = (events: JournalEvent[]) => events.reduce(applyEvent, emptyFold());
const timing = (ms: number) => ({ timing: { worker: "w1", started_at: at(ms) } });

describe("a fold of the journal", () => {
  test("follows a task from scheduled to completed, with its times and worker", () => {
    const state = fold(
      journal(
        [0, "run_started"],
        [0, "task_scheduled", "a", { visit: 1 }],
        [90, "task_completed", "a", { attempt: 1, output: 1, arrivals: ["b"], ...timing(10) }],
        [90, "task_scheduled", "b", { visit: 1 }],
      ),
    );
    expect(state.tasks.a).toMatchObject({ status: "completed", startedAt: at(10), finishedAt: at(90), worker: "w1" });
    expect(state.tasks.b?.status).toBe("ready");
    expect(state.taken).toEqual({ [way("a", "b")]: 1 });
    expect(statusOf(state)).toBe("running");
  });

  test("counts the time of a task that waited from its first start, not from its last wake-up", () => {
    const state = fold(
      journal(
        [0, "task_scheduled", "a"],
        [5, "task_suspended", "a", { attempt: 1, waits: [] }],
        [900, "task_resumed", "a", { step: "s", by: "timer" }],
        [910, "task_completed", "a", { attempt: 1, ...timing(905) }],
      ),
    );
    expect(state.tasks.a).toMatchObject({ startedAt: at(0), finishedAt: at(910) });
  });

  test("ignores an event that it has seen, so a repeated stream changes nothing", () => {
    const events = journal(
      [0, "run_started"],
      [0, "task_scheduled", "a"],
      [5, "task_completed", "a", { arrivals: ["b"] }],
    );
    const once = fold(events);
    expect(fold([...events, ...events])).toEqual(once);
  });

  test("shows a failed attempt that is tried again as waiting, with the time of the next try", () => {
    const error = { type: "Timeout", message: "too slow" };
    const state = fold(
      journal([0, "task_scheduled", "a"], [20, "task_failed", "a", { attempt: 1, error, retry_us: us(1000) }]),
    );
    expect(state.tasks.a).toMatchObject({ status: "waiting", attempt: 2, finishedAt: null });
    expect(state.tasks.a?.retryAt).toBe(new Date(us(1000) / 1000).toISOString());
    expect(state.tasks.a?.error?.type).toBe("Timeout");
    expect(statusOf(fold([...journal([0, "run_started"]), ...[]]))).toBe("running");
  });

  test("calls a run waiting when every open task waits, but not while only a retry is due", () => {
    const waits = journal(
      [0, "run_started"],
      [0, "task_scheduled", "a"],
      [5, "task_suspended", "a", { attempt: 1, waits: [] }],
    );
    expect(statusOf(fold(waits))).toBe("waiting");
    const retry = journal(
      [0, "run_started"],
      [0, "task_scheduled", "a"],
      [5, "task_failed", "a", { attempt: 1, retry_us: us(99) }],
    );
    expect(statusOf(fold(retry))).toBe("running");
  });

  test.each([
    [[[3, "run_paused"]], "paused"],
    [
      [
        [3, "run_paused"],
        [4, "run_resumed"],
      ],
      "running",
    ],
    [[[3, "cancel_requested"]], "cancelling"],
    [
      [
        [3, "cancel_requested"],
        [4, "run_cancelled"],
      ],
      "cancelled",
    ],
    [[[3, "run_failed", null, { error: { type: "E", message: "m" } }]], "failed"],
    [[[3, "run_succeeded", null, { output: 7 }]], "succeeded"],
  ] as const)("knows the run's status after %j", (more, status) => {
    const events = journal(
      [0, "run_started"],
      [0, "task_scheduled", "a"],
      ...(more as unknown as Parameters<typeof journal>),
    );
    expect(statusOf(fold(events))).toBe(status);
  });

  test("opens the tasks again that a retry of the run names", () => {
    const state = fold(
      journal(
        [0, "run_started"],
        [0, "task_scheduled", "a"],
        [5, "task_failed", "a", { attempt: 3, error: { type: "E", message: "m" } }],
        [5, "run_failed", null, { error: { type: "E", message: "m" } }],
        [9, "run_retried", null, { reopened: ["a"] }],
      ),
    );
    expect(state.tasks.a).toMatchObject({ status: "ready", attempt: 1, error: null });
    expect(statusOf(state)).toBe("running");
    expect(state.error).toBeNull();
  });

  test("keeps every visit, and shows the latest for its node", () => {
    const state = fold(
      journal(
        [0, "task_scheduled", "a"],
        [1, "task_completed", "a"],
        [2, "task_scheduled", "a", { path: "a@2", visit: 2 }],
      ),
    );
    expect(state.order).toEqual(["a", "a@2"]);
    expect(latestByNode(state).a?.path).toBe("a@2");
  });

  test("records a decision with its reason, and who decided where the event leaves it out", () => {
    const state = fold(
      journal(
        [0, "task_scheduled", "r"],
        [1, "decision_made", "r", { chosen: [{ node: "b" }], allowed: ["b", "c"], reason: "so" }],
      ),
    );
    expect(state.tasks.r?.decision).toEqual({
      chosen: [{ node: "b", label: null }],
      allowed: ["b", "c"],
      reason: "so",
      confidence: null,
      by: "rule",
      model: null,
      cost_usd: null,
    });
  });

  test("leaves a kind that it doesn't know alone", () => {
    const before = fold(journal([0, "run_started"], [0, "task_scheduled", "a"]));
    const after = fold(journal([0, "run_started"], [0, "task_scheduled", "a"], [1, "approval_requested"]));
    expect({ ...after, seq: 0 }).toEqual({ ...before, seq: 0 });
  });
});

describe("live notices", () => {
  const open = () => fold(journal([0, "run_started"], [0, "task_scheduled", "a"]));

  test("say that a task runs, and how far it is", () => {
    const state = applyNotice(open(), {
      kind: "task_started",
      path: "a",
      node: "a",
      at: at(3),
      attempt: 2,
      worker: "w2",
    });
    applyNotice(state, { kind: "task_progress", path: "a", node: "a", at: at(4), done: 3, total: 9 });
    expect(state.tasks.a).toMatchObject({
      status: "running",
      startedAt: at(3),
      attempt: 2,
      worker: "w2",
      done: 3,
      total: 9,
    });
  });

  test("cannot take back what the journal says", () => {
    const done = fold(journal([0, "task_scheduled", "a"], [5, "task_completed", "a"]));
    applyNotice(done, { kind: "task_started", path: "a", node: "a", at: at(9) });
    expect(done.tasks.a?.status).toBe("completed");
  });
});

describe("the list of tasks", () => {
  const task = (path: string, status: Task["status"], previous: string[] = []): Task => ({
    path,
    node: path,
    class: "N",
    visit: 1,
    status,
    attempt: 1,
    attempts: [],
    scheduled_at: at(0),
    started_at: at(1),
    finished_at: null,
    duration_us: null,
    effect: "write",
    decision: null,
    error: null,
    waiting_for: null,
    previous,
    steps: [],
    output_bytes: null,
    compensates: null,
    compensated_by: null,
    cached: null,
    reason: null,
    from_parent: false,
    item: null,
    items: null,
  });

  test("adds the tasks that a fork took over, with the way that led to them", () => {
    const merged = withTasks(emptyFold(), [task("a", "completed"), task("b", "running", ["a"])]);
    expect(merged.tasks.b?.status).toBe("running");
    expect(merged.taken).toEqual({ [way("a", "b")]: 1 });
  });

  test("never takes back what the journal says", () => {
    const done = fold(journal([0, "task_scheduled", "a"], [5, "task_completed", "a"]));
    expect(withTasks(done, [task("a", "running")])).toBe(done);
  });
});
