import { BaseEdge, EdgeLabelRenderer, type EdgeProps, type Edge as FlowEdge } from "@xyflow/react";
import { memo } from "react";
import type { EdgeLook } from "@/rules/drawing";
import { arrowAt, labelPoint, type Point, roundedPath, shortened } from "@/rules/layout";

export type TrackData = { points: Point[]; look: EdgeLook; label: string | null };
export type Track = FlowEdge<TrackData, "track">;

export const TrackEdge = memo(function TrackEdge({ id, data }: EdgeProps<Track>) {
  if (!data) return null;
  const { look, label } = data;
  // A node that runs or waits has a halo; the arrow ends before it.
  const points = look === "live" || look === "wait" ? shortened(data.points, 5) : data.points;
  const at = label ? labelPoint(points) : null;
  return (
    <>
      <BaseEdge id={id} path={roundedPath(points, 10, 6)} className={`e ${look}`} interactionWidth={0} />
      <polygon className={`a ${look}`} points={arrowAt(points)} />
      {at && (
        <EdgeLabelRenderer>
          <span className="el" style={{ transform: `translate(-50%, -50%) translate(${at.x}px, ${at.y}px)` }}>
            {label}
          </span>
        </EdgeLabelRenderer>
      )}
    </>
  );
});
