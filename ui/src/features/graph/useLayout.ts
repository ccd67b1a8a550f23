/** Asks the layout engine, which lives in a worker that starts with the first graph and then stays. */
import { useEffect, useState } from "react";
import type { Graph, LaidPlan } from "@/api/types";
import {
  BLOCKS_MAX,
  type Density,
  type Direction,
  type EngineAnswer,
  fromEngine,
  type Layout,
  type Measure,
  toEngine,
  withApart,
  withBlocks,
} from "@/rules/layout";

type Engine = { layout: (graph: ReturnType<typeof toEngine>) => Promise<EngineAnswer> };
let engine: Promise<Engine> | null = null;

async function startEngine(): Promise<Engine> {
  const [{ default: Elk }, { default: workerUrl }] = await Promise.all([
    import("elkjs/lib/elk-api.js"),
    import("elkjs/lib/elk-worker.min.js?url"),
  ]);
  return new Elk({ workerFactory: () => new Worker(workerUrl) }) as unknown as Engine;
}

let context: CanvasRenderingContext2D | null = null;
const fonts = { title: "600 13px", class: "400 11px", pill: "500 11px" };

const measureText: Measure = (text, font) => {
  context ??= document.createElement("canvas").getContext("2d");
  if (!context) return text.length * 7;
  context.font = `${fonts[font]} ${getComputedStyle(document.body).fontFamily}`;
  return context.measureText(text).width;
};

export type LayoutState = { layout: Layout; graph: Graph; direction: Direction; density: Density };

/** The layout of `graph`; the one before stays until the next is there, so nothing jumps to an empty pane. */
export function useLayout(
  graph: Graph | null,
  plans: readonly LaidPlan[],
  direction: Direction | null,
): LayoutState | null {
  const [state, setState] = useState<LayoutState | null>(null);
  const drawn = plans.slice(-BLOCKS_MAX);
  const key = graph ? JSON.stringify([graph.nodes, graph.edges, drawn.map((plan) => [plan.path, plan.seq])]) : "";
  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` is the graph by value.
  useEffect(() => {
    if (!graph || !direction) return;
    let current = true;
    const density: Density = direction === "right" ? "compact" : "regular";
    const options = { direction, density, measure: measureText };
    engine ??= startEngine();
    void engine.then(async (elk) => {
      const lay = async (one: Graph) => fromEngine(one, await elk.layout(toEngine(one, options)));
      const [flow, ...blocks] = await Promise.all([graph, ...drawn.map((plan) => plan.graph)].map(lay));
      if (!current || !flow) return;
      const laid = drawn.flatMap((plan, i) => {
        const own = blocks[i];
        return own ? [{ plan, layout: withApart(own, plan.graph, options) }] : [];
      });
      const layout = withBlocks(withApart(flow, graph, options), laid, options);
      const all = [graph, ...drawn.map((plan) => plan.graph)];
      const whole = { nodes: all.flatMap((one) => one.nodes), edges: all.flatMap((one) => one.edges) };
      setState({ layout, graph: whole, direction, density });
    });
    return () => {
      current = false;
    };
  }, [key, direction]);
  return state;
}
