import { describe, expect, test } from "vitest";
import type { ItemsSummary, JournalEvent, LaidPlan, Task } from "@/api/types";
import { compensations, nodeLooks } from "./drawing";
import {
  applyEvent,
  emptyFold,
  foldFrom,
  itemsWords,
  nodeOfPath,
  type RunFold,
  shownStatus,
  statusOf,
  withTasks,
} from "./fold";
import { type Layout, nodesApart, withApart, withBlocks } from "./layout";
import { at, graph, journal } from "./testing";
import { lanes, thinLanes } from "./timeline";

const fold = (events: JournalEvent[], from: RunFold = emptyFold()) => events.reduce(applyEvent, from);
const timing = (ms: number) => ({ timing: { worker: "w1", started_at: at(ms) } });
const counts = (more: Partial<ItemsSummary>): ItemsSummary => ({
  count: 5,
  scheduled: 3,
  completed: 0,
  failed: 0,
  skipped: 0,
  running: 0,
  waiting: 0,
  in_doubt: 0,
  ready: 0,
  cancelled: 0,
  first_failures: [],
  ...more,
});
const listed = (path: string, status: Task["status"], more: Partial<Task> = {}): Task => ({
  path,
  node: path.split(/[@[]/)[0] ?? path,
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
  previous: [],
  steps: [],
  output_bytes: null,
  reason: null,
  cached: null,
  from_parent: false,
  compensates: null,
  compensated_by: null,
  item: null,
  items: null,
  ...more,
});
const begun = journal(
  [0, "run_started"],
  [0, "task_scheduled", "each"],
  [5, "items_started", "each", { count: 5, ...timing(1) }],
  [5, "task_scheduled", "each[0]", { node: "each", item: 0 }],
  [5, "task_scheduled", "each[1]", { node: "each", item: 1 }],
);

describe("items of a list", () => {
  test("aren't tasks of their own, and only the open ones are known", () => {
    const state = fold([...begun, ...journal([9, "task_completed", "each[0]", timing(6)]).map(behind(5))]);
    expect(state.order).toEqual(["each"]);
    expect(Object.keys(state.openItems)).toEqual(["each[1]"]);
    expect(state.openItems["each[1]"]?.item).toBe(1);
    expect(statusOf(state)).toBe("running");
  });

  test("make the run wait if all that are open wait", () => {
    const waits = ["each[0]", "each[1]"].map((path, i) =>
      behind(5 + i)(journal([9, "task_suspended", path, { waits: [] }])[0] as JournalEvent),
    );
    expect(statusOf(fold([...begun, ...waits]))).toBe("waiting");
  });

  test("are counted by the server, and the task that has them shows the most urgent", () => {
    const state = withTasks(fold(begun), [listed("each", "waiting", { items: counts({ completed: 2, running: 1 }) })]);
    const task = state.tasks.each;
    if (!task?.items) throw new Error("no items");
    expect(itemsWords(task.items)).toBe("2 of 5");
    expect(shownStatus(task, state)).toBe("running");
    expect(shownStatus({ ...task, items: counts({ running: 1, in_doubt: 1 }) }, state)).toBe("in_doubt");
    expect(shownStatus({ ...task, items: counts({ ready: 2 }) }, { ...state, spentOut: ["cost_usd"] })).toBe("ready");
    expect(shownStatus({ ...task, items: counts({ waiting: 2 }) }, state)).toBe("waiting");
  });

  test("are one row of the timeline, in thin lanes", () => {
    const events = [
      ...begun,
      behind(5)(journal([105, "task_completed", "each[0]", timing(6)])[0] as JournalEvent),
      behind(6)(journal([205, "task_completed", "each[1]", timing(6)])[0] as JournalEvent),
    ];
    const state = withTasks(fold(events), [listed("each", "completed", { items: counts({ completed: 5 }) })]);
    const [lane] = lanes(events, state);
    expect(lane?.path).toBe("each");
    expect(lane?.items.map((row) => row.length)).toEqual([1, 1]);
  });

  test("share a bar where nobody could tell them apart", () => {
    const many = Array.from({ length: 1000 }, (_, i) => ({ kind: "work" as const, from: i * 10, to: i * 10 + 9 }));
    expect(thinLanes(many)).toEqual([[{ kind: "work", from: 0, to: 9999 }]]);
    const apart = [
      { kind: "work" as const, from: 0, to: 10 },
      { kind: "failed" as const, from: 10, to: 20 },
      { kind: "work" as const, from: 500, to: 510 },
    ];
    expect(thinLanes(apart)[0]).toHaveLength(3);
  });
});

describe("a journal that is read from its tail", () => {
  test("takes older tasks from the list, before those that it knows", () => {
    const state = foldFrom(100);
    state.startedAt = at(0);
    const tail = fold(journal([9, "task_completed", "loop@9", { node: "loop", ...timing(8) }]).map(behind(100)), state);
    const merged = withTasks(tail, [listed("begin", "completed"), listed("loop@9", "completed")]);
    expect(merged.order).toEqual(["begin", "loop@9"]);
    expect(merged.tasks["loop@9"]).toMatchObject({ scheduledAt: at(0), finishedAt: at(9) });
    expect(statusOf(merged)).toBeNull();
  });
});

describe("compensation", () => {
  const trip = graph("begin>pay", "pay>end");
  trip.nodes.push({ ...(trip.nodes[0] as (typeof trip.nodes)[0]), id: "undo", start: false });
  trip.edges.push({ source: "pay", target: "undo", kind: "compensate", label: null, back: false });

  test("nodes stand apart from the flow and say whom they take back", () => {
    expect([...nodesApart(trip)]).toEqual(["undo"]);
    expect(compensations(trip)).toEqual({ undo: ["pay"] });
    const state = fold(
      journal(
        [0, "run_started"],
        [0, "task_scheduled", "pay"],
        [1, "task_completed", "pay"],
        [2, "task_scheduled", "undo", { compensates: "pay" }],
      ),
    );
    expect(nodeLooks(trip, state).undo).toMatchObject({ undoes: ["pay"], task: { compensates: "pay" } });
  });

  test("nodes are laid below the flow, in a frame", () => {
    const flow = { nodes: [], edges: [], frames: [], size: { width: 800, height: 200 } };
    const options = { direction: "right", density: "compact", measure: (text: string) => text.length * 7 } as const;
    const laid = withApart(flow, trip, options);
    expect(laid.nodes[0]?.y).toBeGreaterThan(200);
    expect(laid.frames[0]?.kind).toBe("compensation");
    expect(laid.size.height).toBeGreaterThan(laid.nodes[0]?.y ?? 0);
  });
});

describe("a plan", () => {
  const block = graph("begin>sum");
  const plan: LaidPlan = {
    path: "plan",
    node: "plan",
    seq: 3,
    at: at(0),
    reason: "two sources fit",
    done: false,
    start_at: "begin",
    nodes: { begin: { class: "N" }, sum: { class: "N" } },
    output: null,
    graph: {
      nodes: block.nodes.map((node) => ({ ...node, id: `plan/${node.id}` })),
      edges: block.edges.map((edge) => ({ ...edge, source: `plan/${edge.source}`, target: `plan/${edge.target}` })),
    },
  };

  test("is put into a frame under the node that laid it, with a track to it", () => {
    const options = { direction: "right", density: "compact", measure: (text: string) => text.length * 7 } as const;
    const flow: Layout = {
      nodes: [{ id: "plan", x: 300, y: 0, width: 160, height: 48 }],
      edges: [],
      frames: [],
      size: { width: 800, height: 100 },
    };
    const own: Layout = {
      nodes: [{ id: "plan/begin", x: 8, y: 8, width: 160, height: 48 }],
      edges: [],
      frames: [],
      size: { width: 400, height: 64 },
    };
    const laid = withBlocks(flow, [{ plan, layout: own }], options);
    const [frame] = laid.frames;
    expect(frame?.label).toBe("plan laid 1 node: two sources fit");
    expect(frame?.y).toBeGreaterThan(100);
    const inside = laid.nodes.find((node) => node.id === "plan/begin");
    expect(inside?.y).toBeGreaterThan(frame?.y ?? 0);
    const [track] = laid.edges;
    expect(track).toMatchObject({ laid: true, edge: { source: "plan", target: "plan/begin" } });
    expect(track?.points.at(-1)?.y).toBe(frame?.y);
  });

  test("makes its node run as long as something in it does", () => {
    const state = fold(
      journal(
        [0, "run_started"],
        [0, "task_scheduled", "plan"],
        [1, "graph_extended", "plan", timing(0)],
        [1, "task_scheduled", "plan/begin"],
      ),
    );
    const task = state.tasks.plan;
    if (!task) throw new Error("no task");
    expect([state.plans, task.plan, shownStatus(task, state), statusOf(state)]).toEqual([
      1,
      true,
      "running",
      "running",
    ]);
    const waits = fold(journal([2, "task_suspended", "plan/begin", { waits: [] }]).map(behind(4)), state);
    expect([shownStatus(task, waits), statusOf(waits)]).toEqual(["waiting", "waiting"]);
    expect(nodeOfPath("plan@2/fetch@3[17]")).toBe("plan@2/fetch");
  });
});

/** The event with a later place in its journal. */
function behind(by: number): (event: JournalEvent) => JournalEvent {
  return (event) => ({ ...event, seq: event.seq + by, group: event.group + by });
}
