/** The drawn graph. Nodes never move by themselves: the layout depends on the graph, never on what a run is at. */
import {
  Background,
  BackgroundVariant,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
  useStore,
  type Viewport,
} from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import { useElementSize } from "@mantine/hooks";
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Graph, LaidPlan, NodeClass, WaitingJoin } from "@/api/types";
import { Icon, type IconName, isIconName } from "@/design/icons";
import { EDGE_ORDER, edgeLook, iconOf, LIVE_EDGES_MAX, nodeLooks } from "@/rules/drawing";
import type { RunFold } from "@/rules/fold";
import { type Direction, directionFor, isPill } from "@/rules/layout";
import "./graph.css";
import { FrameBox, type FrameNode } from "./FrameBox";
import { type CardNode, NodeCard, type Port } from "./NodeCard";
import { type Track, TrackEdge } from "./TrackEdge";
import { type LayoutState, useLayout } from "./useLayout";

const NO_PLANS: readonly LaidPlan[] = [];
const nodeTypes = { card: NodeCard, frame: FrameBox };
const edgeTypes = { track: TrackEdge };

type Props = {
  graph: Graph | null;
  fold: RunFold | null;
  classes: readonly NodeClass[];
  selected: string | null;
  onSelect: (node: string | null) => void;
  faulty?: ReadonlySet<string>;
  joins?: Readonly<Record<string, WaitingJoin>>;
  plans?: readonly LaidPlan[];
  children?: ReactNode;
};

export function GraphView(props: Props) {
  const { ref, width, height } = useElementSize();
  const [direction, setDirection] = useState<Direction | null>(null);
  useEffect(() => {
    if (direction === null && width > 0 && height > 0) setDirection(directionFor({ width, height }));
  }, [direction, width, height]);
  const state = useLayout(props.graph, props.plans ?? NO_PLANS, direction);
  return (
    <div className="cv" ref={ref}>
      {state && width > 0 && (
        <ReactFlowProvider>
          <Canvas
            {...props}
            state={state}
            pane={`${width}x${height}`}
            onTurn={() => setDirection(state.direction === "down" ? "right" : "down")}
          />
        </ReactFlowProvider>
      )}
      {props.children}
    </div>
  );
}

function Canvas({
  state,
  fold,
  classes,
  selected,
  onSelect,
  faulty,
  joins,
  pane,
  onTurn,
}: Props & { state: LayoutState; pane: string; onTurn: () => void }) {
  const flow = useReactFlow();
  const touched = useRef(false);
  const narrow = Number.parseInt(pane, 10) < 760;
  const fitAll = useCallback(() => {
    // In a narrow pane what floats in its corners would lie on the graph.
    const [top, bottom] = narrow ? (["48px", "56px"] as const) : (["16px", "16px"] as const);
    void flow.fitView({
      padding: { top, left: "16px", right: "16px", bottom },
      maxZoom: 1,
      minZoom: 0.1,
      duration: 0,
    });
  }, [flow, narrow]);
  const layoutKey = state.layout;
  // biome-ignore lint/correctness/useExhaustiveDependencies: fit again when the drawing or its pane changed.
  useEffect(() => {
    if (!touched.current) requestAnimationFrame(fitAll);
  }, [layoutKey, pane, fitAll]);
  const pick = useCallback((node: string) => onSelect(node), [onSelect]);
  const { nodes, edges } = useDrawing({ state, fold, classes, selected, faulty, joins, pick });
  const moving = edges.filter((edge) => edge.data?.look === "live").length <= LIVE_EDGES_MAX;
  return (
    <ReactFlow<CardNode | FrameNode, Track>
      nodes={nodes}
      edges={edges}
      nodeTypes={nodeTypes}
      edgeTypes={edgeTypes}
      nodesDraggable={false}
      nodesConnectable={false}
      nodesFocusable={false}
      edgesFocusable={false}
      elementsSelectable={false}
      deleteKeyCode={null}
      minZoom={0.1}
      maxZoom={2}
      panOnScroll
      onlyRenderVisibleElements={nodes.length > 150}
      onMove={(event: MouseEvent | TouchEvent | null, _view: Viewport) => {
        if (event) touched.current = true;
      }}
      onPaneClick={() => onSelect(null)}
      className={moving ? "" : "still"}
      proOptions={{ hideAttribution: true }}
      aria-label="Graph of the workflow"
    >
      <Background variant={BackgroundVariant.Dots} gap={20} size={1.5} className="dots" />
      <ZoomBar
        onFit={() => {
          touched.current = false;
          fitAll();
        }}
        onZoom={(by) => {
          touched.current = true;
          void flow.zoomTo(flow.getZoom() * by, { duration: 0 });
        }}
        direction={state.direction}
        onTurn={onTurn}
      />
      <ZoomLevel />
    </ReactFlow>
  );
}

/** Tells the style sheet how far away the reader is: below 75 % names only, below 35 % shapes only. */
function ZoomLevel() {
  const zoom = useStore((store) => store.transform[2]);
  const ref = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    const root = ref.current?.closest<HTMLElement>(".react-flow");
    if (!root) return;
    root.dataset.zoom = zoom < 0.35 ? "far" : zoom < 0.75 ? "mid" : "near";
    root.style.setProperty("--zoom", String(zoom));
  }, [zoom]);
  return <span ref={ref} hidden />;
}

function ZoomBar({
  onFit,
  onZoom,
  direction,
  onTurn,
}: {
  onFit: () => void;
  onZoom: (by: number) => void;
  direction: Direction;
  onTurn: () => void;
}) {
  const zoom = useStore((store) => store.transform[2]);
  return (
    <div className="zoom">
      <button type="button" onClick={() => onZoom(1 / 1.25)} aria-label="Zoom out">
        <Icon name="minus" size={14} />
      </button>
      <span className="num">{Math.round(zoom * 100)}%</span>
      <button type="button" onClick={() => onZoom(1.25)} aria-label="Zoom in">
        <Icon name="plus" size={14} />
      </button>
      <button type="button" onClick={onFit} aria-label="Fit the graph into the pane" title="Fit">
        <Icon name="fit" size={14} />
      </button>
      <button type="button" className="wide" onClick={onTurn}>
        <Icon name="tidy" size={14} />
        {direction === "down" ? "Lay to the right" : "Lay down"}
      </button>
    </div>
  );
}

function useDrawing({
  state,
  fold,
  classes,
  selected,
  faulty,
  joins,
  pick,
}: {
  state: LayoutState;
  fold: RunFold | null;
  classes: readonly NodeClass[];
  selected: string | null;
  faulty: ReadonlySet<string> | undefined;
  joins: Readonly<Record<string, WaitingJoin>> | undefined;
  pick: (node: string) => void;
}): { nodes: (CardNode | FrameNode)[]; edges: Track[] } {
  const byClass = useMemo(() => new Map(classes.map((one) => [one.name, one])), [classes]);
  const { layout, graph, density, direction } = state;
  return useMemo(() => {
    const looks = nodeLooks(graph, fold, joins);
    const placed = new Map(layout.nodes.map((one) => [one.id, one]));
    const ports = new Map<string, Port[]>();
    const edges: Track[] = [];
    for (const { id, edge, points, laid } of layout.edges) {
      const look = laid ? "poss" : edgeLook(edge, looks, fold);
      edges.push({
        id,
        source: edge.source,
        target: edge.target,
        type: "track",
        data: { points, look, label: edge.kind === "error" ? "on error" : null },
      });
      const source = laid ? undefined : placed.get(edge.source);
      const [start] = points;
      if (!source || !start) continue;
      const chosen =
        looks[edge.source]?.task?.decision?.chosen.some(
          (one) => one.node === edge.target && one.label === edge.label,
        ) ?? false;
      const list = ports.get(edge.source) ?? [];
      list.push({
        x: start.x - source.x,
        y: start.y - source.y,
        look: edge.kind === "error" && look !== "off" ? "err" : look,
        label: edge.kind === "label" ? edge.label : null,
        chosen,
      });
      ports.set(edge.source, list);
    }
    edges.sort((a, b) => EDGE_ORDER[a.data?.look ?? "idle"] - EDGE_ORDER[b.data?.look ?? "idle"]);
    const nodes: (CardNode | FrameNode)[] = layout.frames.map((frame) => ({
      id: `frame ${frame.id}`,
      type: "frame",
      position: { x: frame.x, y: frame.y },
      width: frame.width,
      height: frame.height,
      zIndex: -1,
      data: frame,
    }));
    for (const node of graph.nodes) {
      const at = placed.get(node.id);
      const look = looks[node.id];
      if (!at || !look) continue;
      const outs = graph.edges.filter((edge) => edge.source === node.id && edge.kind !== "compensate");
      const declared = byClass.get(node.class) ?? byClass.get(`${node.class}Node`);
      nodes.push({
        id: node.id,
        type: "card",
        position: { x: at.x, y: at.y },
        width: at.width,
        height: at.height,
        data: {
          node,
          look,
          icon: iconOf(declared?.icon, node.class, isIconName) as IconName,
          pill: isPill(node, outs.length > 0),
          faulty: faulty?.has(node.id) ?? false,
          density,
          direction,
          ports: ports.get(node.id) ?? [],
          routes: outs.filter((edge) => edge.kind !== "error").map((edge) => edge.label ?? edge.target),
          selected: selected === node.id,
          onSelect: pick,
        },
      });
    }
    return { nodes, edges };
  }, [layout, graph, density, direction, fold, byClass, faulty, joins, selected, pick]);
}
