import type { Node as FlowNode, NodeProps } from "@xyflow/react";
import { Handle, Position } from "@xyflow/react";
import { memo } from "react";
import type { GraphNode } from "@/api/types";
import { Icon, type IconName } from "@/design/icons";
import { StatusIcon } from "@/design/status";
import { useNow } from "@/design/useNow";
import { type EdgeLook, middleCut, type NodeLook, STATUS_CLASS } from "@/rules/drawing";
import { isOpen, itemsDone, itemsWords } from "@/rules/fold";
import { type Density, type Direction, nameOf } from "@/rules/layout";
import { taskLook } from "@/rules/status";
import { clock, duration, micros } from "@/rules/time";

export type Port = { x: number; y: number; look: EdgeLook; label: string | null; chosen: boolean };
export type CardData = {
  node: GraphNode;
  look: NodeLook;
  icon: IconName;
  pill: boolean;
  faulty: boolean;
  density: Density;
  direction: Direction;
  ports: Port[];
  routes: string[];
  selected: boolean;
  onSelect: (node: string) => void;
};
export type CardNode = FlowNode<CardData, "card">;

const LOOK_CLASS: Partial<Record<EdgeLook, string>> = {
  taken: " taken",
  live: " taken",
  wait: " wait",
  off: " off",
  err: " err",
};

export const NodeCard = memo(function NodeCard({ data }: NodeProps<CardNode>) {
  const { node, look, pill, density, direction, selected } = data;
  const task = look.task;
  const status = look.status ? taskLook(look.status) : null;
  const round = pill && density === "compact" && direction === "right";
  const classes = ["node"];
  if (pill) classes.push(round ? "pill round" : "pill");
  if (density === "compact") classes.push("cmp");
  if (look.status) classes.push(STATUS_CLASS[look.status]);
  if (look.undoes.length > 0) classes.push("undo");
  if (look.off) classes.push("off");
  if (data.faulty) classes.push("faulty");
  if (selected) classes.push("sel");
  const spoken = `${node.id}, ${node.class}${status ? `, ${status.word.toLowerCase()}` : look.off ? ", not taken" : ""}`;
  const items = task?.items ?? null;
  return (
    <>
      <Handle type="target" position={direction === "down" ? Position.Top : Position.Left} className="anchor" />
      <button
        type="button"
        className={classes.filter(Boolean).join(" ")}
        onClick={() => data.onSelect(node.id)}
        aria-label={round ? spoken : undefined}
        aria-pressed={selected}
        title={round || node.id.length > 30 ? node.id : undefined}
      >
        {pill ? <PillBody data={data} round={round} /> : <CardBody data={data} />}
        {items && task && isOpen(task.status) ? (
          <Progress done={itemsDone(items)} total={items.count} />
        ) : (
          task?.status === "running" && !pill && <Progress done={task.done} total={task.total} />
        )}
        {node.decides && density === "regular" && !pill && <Strip data={data} />}
      </button>
      {look.undoes.length > 0 && (
        <span className="undoes">
          {task?.compensates
            ? `${task.status === "completed" ? "took" : "takes"} back ${task.compensates}`
            : `takes back ${look.undoes.join(", ")}`}
        </span>
      )}
      {data.ports.map((port) =>
        port.label !== null ? (
          <span
            key={`${port.x}:${port.y}`}
            className={`hl${direction === "right" ? " beside" : ""}${port.chosen ? " chosen" : port.look === "off" ? " off" : ""}`}
            style={{ left: port.x, top: port.y }}
          >
            {port.label}
          </span>
        ) : (
          <span
            key={`${port.x}:${port.y}`}
            className={`h${LOOK_CLASS[port.look] ?? ""}`}
            style={{ left: port.x, top: port.y }}
          />
        ),
      )}
      <Handle type="source" position={direction === "down" ? Position.Bottom : Position.Right} className="anchor" />
    </>
  );
});

function PillBody({ data, round }: { data: CardData; round: boolean }) {
  const { task, status } = data.look;
  const shape = status ? taskLook(status).shape : null;
  if (round) {
    return (
      <span className="hd">
        {shape && shape !== "ok" ? (
          <StatusIcon shape={shape} size={14} />
        ) : (
          <Icon name={data.icon} size={14} className="i2" />
        )}
      </span>
    );
  }
  return (
    <span className="hd">
      <Icon name={data.icon} size={14} className="i2" />
      <span className="ti t12">{middleCut(nameOf(data.node.id), 34)}</span>
      {task && status && shape && <StatusIcon shape={shape} size={14} label={taskLook(status).word} />}
    </span>
  );
}

function CardBody({ data }: { data: CardData }) {
  const { node, look, density } = data;
  const small = density === "compact";
  return (
    <span className="hd">
      <span className={node.decides ? "tile iris" : "tile"}>
        <Icon name={data.icon} size={small ? 14 : 16} />
      </span>
      <span className="lines">
        <span className="line">
          <span className="ti cut sp">{middleCut(nameOf(node.id), 34)}</span>
          {look.visits > 1 && <span className="visits num">{look.visits}×</span>}
          {look.status && (
            <StatusIcon shape={taskLook(look.status).shape} size={small ? 14 : 16} label={taskLook(look.status).word} />
          )}
        </span>
        <span className="line">
          <span className="cl cut sp">{node.class}</span>
          <Fact data={data} />
        </span>
      </span>
    </span>
  );
}

/** The one fact of line two: what a person asks first about a node in this state. */
function Fact({ data }: { data: CardData }) {
  const { look, node } = data;
  const task = look.task;
  if (look.join && (!task || look.status === "completed")) {
    const { has, wants } = look.join;
    return <span className="du">{wants === null ? `${has} arrived` : `${has} of ${wants}`}</span>;
  }
  if (!task) {
    if (look.undoes.length > 0) return look.over ? <span className="du">not needed</span> : null;
    if (look.off) return <span className="du">not taken</span>;
    if (node.decides && data.density === "compact" && data.routes.length > 1)
      return <span className="du">{data.routes.length} routes</span>;
    return null;
  }
  if (task.items) {
    const { failed } = task.items;
    return (
      <span className="du">
        {itemsWords(task.items)}
        {failed > 0 && <span className="c-fail">{` · ${failed.toLocaleString("en")} failed`}</span>}
      </span>
    );
  }
  if (task.status === "cancelled") return <span className="du">{withdrawnWord(task.withdrawn)}</span>;
  if (task.status === "running") {
    if (task.total !== null) return <span className="du">{`${task.done ?? 0} of ${task.total}`}</span>;
    return task.startedAt ? <Since at={task.startedAt} /> : null;
  }
  if (task.plan) return <span className="du">laid a plan</span>;
  if (task.status === "waiting") {
    if (task.retryAt) return <span className="du">{`try ${task.attempt} at ${clock(task.retryAt)}`}</span>;
    return task.scheduledAt ? <Since at={task.startedAt ?? task.scheduledAt} /> : null;
  }
  if (task.status === "in_doubt") return <span className="du">asks you</span>;
  if (task.status === "skipped") return <span className="du">{task.message ? "skipped" : "when is false"}</span>;
  if (task.status === "failed" || (task.status === "completed" && task.attempt > 1)) {
    return task.attempt > 1 ? (
      <span className="du">
        <Icon name="retry" size={11} />
        {task.attempt}
        <span className="hidden-text"> tries</span>
      </span>
    ) : null;
  }
  if (task.startedAt && task.finishedAt) {
    return <span className="du">{duration(micros(task.finishedAt) - micros(task.startedAt))}</span>;
  }
  return null;
}

/** The kernel's reasons in the one word that a card has room for; the panel has the sentence. */
const withdrawnWord = (reason: string | null): string =>
  reason && /stopping|failed/.test(reason) ? "stopped" : "withdrawn";

function Since({ at }: { at: string }) {
  const now = useNow(100);
  return <span className="du">{duration(Math.max(0, now * 1000 - micros(at)))}</span>;
}

function Progress({ done, total }: { done: number | null; total: number | null }) {
  if (total === null || total <= 0) return null;
  return (
    <span className="bar">
      <i style={{ width: `${Math.min(100, ((done ?? 0) / total) * 100)}%` }} />
    </span>
  );
}

function Strip({ data }: { data: CardData }) {
  const decision = data.look.task?.decision;
  if (!decision) {
    return (
      <span className="dec before">
        <span className="dec-line t12">
          <Icon name="route" size={14} className="i3" />
          <span className="i2">{data.routes.length === 1 ? "1 route" : `${data.routes.length} routes`}</span>
        </span>
        <span className="dec-why t11 i3 cut">{data.routes.join(", ")}</span>
      </span>
    );
  }
  const [first] = decision.chosen;
  const more = decision.chosen.length - 1;
  return (
    <span className="dec">
      <span className="dec-line t12">
        <Icon name="route" size={14} className="c-iris" />
        {first?.label && (
          <>
            <span className="b c-iris nw">{first.label}</span>
            <Icon name="arr" size={12} className="i3" />
          </>
        )}
        <span className={`cut ${first?.label ? "m" : "b c-iris"}`}>{first ? first.node : "ends this path"}</span>
        {more > 0 && <span className="i2 nw">and {more} more</span>}
        <span className="sp" />
        <span className="t11 i2 nw">{decision.model ?? decision.by}</span>
      </span>
      <span className="dec-why t11 i2 cut" title={decision.reason ?? undefined}>
        {decision.reason ?? "no reason given"}
      </span>
    </span>
  );
}
