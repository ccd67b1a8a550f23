import type { Node as FlowNode, NodeProps } from "@xyflow/react";
import { memo } from "react";
import type { Frame } from "@/rules/layout";

export type FrameNode = FlowNode<Frame, "frame">;

/** The frame around nodes that have a place of their own. */
export const FrameBox = memo(function FrameBox({ data }: NodeProps<FrameNode>) {
  return (
    <div className={`frame ${data.kind}`}>
      <span className="frame-label">{data.label}</span>
    </div>
  );
});
