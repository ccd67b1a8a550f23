import { type ReactNode, type PointerEvent as ReactPointerEvent, useCallback, useState } from "react";
import { recall, remember } from "@/app/theme";

type Options = { name: string; initial: number; least: number; most: number; edge: "left" | "right" | "top" };

/** A size that a person sets by dragging an edge (or with the arrow keys), and that this browser remembers. */
export function useDrag({ name, initial, least, most, edge }: Options): {
  size: number;
  handle: (label: string) => ReactNode;
} {
  const [size, setSize] = useState(() => {
    const kept = Number(recall(`size.${name}`));
    return kept >= least && kept <= most ? kept : initial;
  });
  const set = useCallback(
    (value: number) => {
      const next = Math.min(most, Math.max(least, Math.round(value)));
      setSize(next);
      remember(`size.${name}`, String(next));
    },
    [least, most, name],
  );
  const onPointerDown = (event: ReactPointerEvent<HTMLDivElement>) => {
    event.preventDefault();
    const target = event.currentTarget;
    target.setPointerCapture(event.pointerId);
    const [x, y, before] = [event.clientX, event.clientY, size];
    const move = (moved: PointerEvent) => {
      const by = edge === "top" ? y - moved.clientY : edge === "left" ? x - moved.clientX : moved.clientX - x;
      set(before + by);
    };
    const up = () => {
      target.removeEventListener("pointermove", move);
      target.removeEventListener("pointerup", up);
    };
    target.addEventListener("pointermove", move);
    target.addEventListener("pointerup", up);
  };
  const handle = (label: string) => (
    // biome-ignore lint/a11y/useSemanticElements: a rule cannot be dragged; this is the separator widget.
    <div
      className={`drag ${edge}`}
      role="separator"
      aria-orientation={edge === "top" ? "horizontal" : "vertical"}
      aria-label={label}
      aria-valuenow={size}
      aria-valuemin={least}
      aria-valuemax={most}
      tabIndex={0}
      onPointerDown={onPointerDown}
      onKeyDown={(event) => {
        const grow = edge === "top" ? "ArrowUp" : edge === "left" ? "ArrowLeft" : "ArrowRight";
        const shrink = edge === "top" ? "ArrowDown" : edge === "left" ? "ArrowRight" : "ArrowLeft";
        if (event.key === grow) set(size + 16);
        else if (event.key === shrink) set(size - 16);
      }}
    />
  );
  return { size, handle };
}
