/** Asks the layout engine, which lives in a worker that starts with the first graph and then stays. */
import { useEffect, useState } from "react";
import type { Graph } from "@/api/types";
import {
  type Density,
  type Direction,
  type EngineAnswer,
  fromEngine,
  type Layout,
  type Measure,
  toEngine,
  withApart,
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
export function useLayout(graph: Graph | null, direction: Direction | null): LayoutState | null {
  const [state, setState] = useState<LayoutState | null>(null);
  const key = graph ? JSON.stringify([graph.nodes, graph.edges]) : "";
  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` is the graph by value.
  useEffect(() => {
    if (!graph || !direction) return;
    let current = true;
    const density: Density = direction === "right" ? "compact" : "regular";
    const options = { direction, density, measure: measureText };
    engine ??= startEngine();
    void engine
      .then((elk) => elk.layout(toEngine(graph, options)))
      .then((answer) => {
        const layout = withApart(fromEngine(graph, answer), graph, options);
        if (current) setState({ layout, graph, direction, density });
      });
    return () => {
      current = false;
    };
  }, [key, direction]);
  return state;
}
