/** Every status has its own shape and its word: never colour alone. */
import type { ReactNode } from "react";
import type { RunStatus, TaskStatus } from "@/api/types";
import { hueOf, runLook, type StatusShape as Shape, taskLook } from "@/rules/status";

const shapes = {
  queued: (
    <>
      <circle cx="8" cy="8" r="5.75" strokeDasharray="2.2 2.3" />
    </>
  ),
  ready: (
    <>
      <circle cx="8" cy="8" r="5.75" strokeDasharray="2.2 2.3" />
      <circle cx="8" cy="8" r="1.6" fill="currentColor" stroke="none" />
    </>
  ),
  running: (
    <>
      <circle cx="8" cy="8" r="5.75" opacity=".28" />
      <path d="M8 2.25A5.75 5.75 0 0 1 13.75 8" strokeWidth="2" />
    </>
  ),
  waiting: (
    <>
      <path d="M4 2.25h8M4 13.75h8M5 2.5v2.25C5 6.6 8 7 8 8s-3 1.4-3 3.25v2.25M11 2.5v2.25C11 6.6 8 7 8 8s3 1.4 3 3.25v2.25" />
    </>
  ),
  paused: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M6.4 6v4M9.6 6v4" />
    </>
  ),
  cancelling: (
    <>
      <path d="M13.75 8A5.75 5.75 0 1 1 8 2.25" />
      <path d="M6 6l4 4M10 6l-4 4" />
    </>
  ),
  ok: (
    <>
      <circle cx="8" cy="8" r="6.5" fill="currentColor" stroke="none" />
      <path d="M5 8.3 7.1 10.4 11 6" stroke="var(--surface)" strokeWidth="1.6" />
    </>
  ),
  failed: (
    <>
      <path d="M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3L1.5 10.7V5.3z" fill="currentColor" stroke="none" />
      <path d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4" stroke="var(--surface)" strokeWidth="1.6" />
    </>
  ),
  cancelled: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M4.1 11.9l7.8-7.8" />
    </>
  ),
  skipped: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M6 5.5 8.5 8 6 10.5M10.25 5.5v5" />
    </>
  ),
  doubt: (
    <>
      <path d="M8 .9 15.1 8 8 15.1.9 8z" fill="currentColor" stroke="currentColor" strokeWidth="1" />
      <path
        d="M6.3 6.4a1.75 1.75 0 1 1 2.6 1.5c-.65.4-.9.65-.9 1.2M8 11.2v.1"
        stroke="var(--surface)"
        strokeWidth="1.5"
      />
    </>
  ),
} satisfies Record<Shape, ReactNode>;

/** The shape alone; give it a `label` where its word does not stand beside it. */
export function StatusIcon({ shape, size = 16, label }: { shape: Shape; size?: number; label?: string }) {
  return (
    <svg
      className={`ic c-${hueOf(shape)}${shape === "running" ? " spin" : ""}`}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      role={label ? "img" : undefined}
      aria-label={label}
      aria-hidden={label ? undefined : true}
    >
      {shapes[shape]}
    </svg>
  );
}

export function RunStatusText({ status, size = 16 }: { status: RunStatus; size?: number }) {
  const look = runLook(status);
  return (
    <span className={`st c-${look.hue}`}>
      <StatusIcon shape={look.shape} size={size} />
      {look.word}
    </span>
  );
}

export function RunChip({ status }: { status: RunStatus }) {
  const look = runLook(status);
  return (
    <span className={`chip ${look.hue}`}>
      <StatusIcon shape={look.shape} size={14} />
      {look.word}
    </span>
  );
}

export function TaskStatusText({ status, size = 14 }: { status: TaskStatus; size?: number }) {
  const look = taskLook(status);
  return (
    <span className={`st c-${look.hue}`}>
      <StatusIcon shape={look.shape} size={size} />
      {look.word}
    </span>
  );
}
