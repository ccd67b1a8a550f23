import { describe, expect, test } from "vitest";
import { edgeLook, iconOf, middleCut, nodeLooks } from "./drawing";
import { applyEvent, emptyFold } from "./fold";
import { graph, journal } from "./testing";

const choice = graph("start>route", "route?left", "route?right", "left>join", "right>join", "join>end");

function looks(...written: Parameters<typeof journal>) {
  const fold = journal(...written).reduce(applyEvent, emptyFold());
  const nodes = nodeLooks(choice, fold);
  const edge = (source: string, target: string) => {
    const found = choice.edges.find((one) => one.source === source && one.target === target);
    if (!found) throw new Error(`no edge ${source} ${target}`);
    return edgeLook(found, nodes, fold);
  };
  return { nodes, edge };
}

const decided: Parameters<typeof journal> = [
  [0, "run_started"],
  [0, "task_scheduled", "start"],
  [1, "task_completed", "start", { arrivals: ["route"] }],
  [1, "task_scheduled", "route"],
  [2, "decision_made", "route", { chosen: [{ node: "left" }], allowed: ["left", "right"] }],
  [2, "task_completed", "route", { arrivals: ["left"] }],
  [2, "task_scheduled", "left"],
];

describe("a drawn run", () => {
  test("marks nothing before anything ran", () => {
    const nodes = nodeLooks(choice, null);
    expect(Object.values(nodes).some((one) => one.off)).toBe(false);
    expect(choice.edges.map((edge) => edgeLook(edge, nodes, null))).toEqual(Array(6).fill("idle"));
  });

  test("keeps both ways open until the choice is made", () => {
    const { nodes, edge } = looks(...(decided.slice(0, 4) as Parameters<typeof journal>));
    expect(nodes.left?.off).toBe(false);
    expect(nodes.right?.off).toBe(false);
    expect(edge("route", "right")).toBe("idle");
    expect(edge("start", "route")).toBe("live");
  });

  test("says not taken of the other way as soon as the choice is made, and of nothing that can still come", () => {
    const { nodes, edge } = looks(...decided);
    expect(nodes.right?.off).toBe(true);
    expect(nodes.join?.off).toBe(false);
    expect(nodes.end?.off).toBe(false);
    expect(edge("route", "left")).toBe("live");
    expect(edge("route", "right")).toBe("off");
    expect(edge("right", "join")).toBe("off");
    expect(edge("left", "join")).toBe("idle");
    expect(edge("start", "route")).toBe("taken");
  });

  test("ends the way at a waiting node in the colour of waiting", () => {
    expect(looks(...decided, [3, "task_suspended", "left", { waits: [] }]).edge("route", "left")).toBe("wait");
  });

  test("leaves what never ran as not taken when the run is over", () => {
    const { nodes, edge } = looks(
      ...decided,
      [3, "task_failed", "left", { attempt: 1, error: { type: "E", message: "m" } }],
      [3, "run_failed"],
    );
    expect(nodes.end?.off).toBe(true);
    expect(edge("join", "end")).toBe("off");
    expect(nodes.left?.off).toBe(false);
  });

  test("keeps an arrival that waits in a join possible", () => {
    const diamond = graph("a>b", "a>c", "b>d", "c>d");
    const fold = journal(
      [0, "run_started"],
      [0, "task_scheduled", "a"],
      [1, "task_completed", "a", { arrivals: ["b", "c"] }],
      [1, "task_scheduled", "b"],
      [1, "task_scheduled", "c"],
      [2, "task_completed", "b", { arrivals: ["d"] }],
    ).reduce(applyEvent, emptyFold());
    expect(nodeLooks(diamond, fold).d?.off).toBe(false);
  });

  test("counts the visits of a loop", () => {
    const loop = graph("a>b", "b<a");
    const fold = journal(
      [0, "task_scheduled", "a"],
      [1, "task_completed", "a", { arrivals: ["b"] }],
      [1, "task_scheduled", "b"],
      [2, "task_completed", "b", { arrivals: ["a"] }],
      [2, "task_scheduled", "a", { path: "a@2", visit: 2 }],
    ).reduce(applyEvent, emptyFold());
    expect(nodeLooks(loop, fold).a).toMatchObject({ visits: 2, off: false });
  });
});

test("a long name is cut in the middle, to the length asked for", () => {
  expect(middleCut("short", 10)).toBe("short");
  expect(middleCut("a_very_long_identifier_of_a_node", 11)).toHaveLength(11);
  expect(middleCut("abcdefghijkl", 7)).toBe("abc…jkl");
});

test("the icon is the declared one, else guessed from the class, else a bolt", () => {
  const known = (name: string) => name === "coin";
  expect(iconOf("coin", "StartNode", known)).toBe("coin");
  expect(iconOf("unheard", "SendWelcomeEmailNode", known)).toBe("mail");
  expect(iconOf(null, "Xyzzy", known)).toBe("bolt");
});
