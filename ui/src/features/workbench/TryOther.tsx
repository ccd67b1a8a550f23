import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { api } from "@/api/calls";
import type { Json, JsonObject, NodeClass } from "@/api/types";
import { recall, remember } from "@/app/theme";
import { Icon } from "@/design/icons";
import { sayProblem } from "@/design/toasts";
import type { RunView } from "@/features/run/useRunView";
import { suggestedInputs } from "@/rules/document";

type Props = {
  view: RunView;
  classes: readonly NodeClass[];
  onStarted: (run: string) => void;
  onAsk: (input: Json) => void;
};

const asObject = (value: Json): JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

/** After a run in which somebody chose: the way to see the other path. */
export function TryOther({ view, classes, onStarted, onAsk }: Props) {
  const { run, workflow, fold } = view;
  const [closed, setClosed] = useState(() => recall("tip.other") === "closed");
  const client = useQueryClient();
  const decided = useMemo(
    () => Object.values(fold.tasks).find((task) => task.decision && task.decision.allowed.length > 1),
    [fold],
  );
  const other = useMemo(() => {
    if (!workflow || !run) return null;
    const input = asObject(run.input);
    for (const { name, values } of suggestedInputs(workflow.document, classes)) {
      const reason = decided?.decision?.reason ?? "";
      const current = input[name] ?? values.find((value) => reason.includes(String(value)));
      const next = values.find((value) => value !== current && value !== null);
      if (next !== undefined) return { name, value: next, input: { ...input, [name]: next } };
    }
    return null;
  }, [workflow, run, classes, decided]);
  const start = useMutation({
    mutationFn: (input: Json) =>
      api.startRun(run?.workflow ?? "", { input, version: run?.version ?? 1 }, crypto.randomUUID()),
    onSuccess: (started) => {
      void client.invalidateQueries({ queryKey: ["runs"] });
      onStarted(started.id);
    },
    onError: sayProblem,
  });
  if (closed || !run || !decided || run.status !== "succeeded") return null;
  return (
    <aside className="tip" aria-label="Run again with another input">
      <div className="row t12">
        <span className="b sp">Run again with another input</span>
        <button
          type="button"
          className="tip-x"
          aria-label="Close this tip for good"
          onClick={() => {
            remember("tip.other", "closed");
            setClosed(true);
          }}
        >
          <Icon name="x" size={14} className="i3" />
        </button>
      </div>
      {other ? (
        <>
          <p className="t12 i2">
            Set <span className="mono">{other.name}</span> to <span className="mono">{String(other.value)}</span> and
            run: the other path lights up.
          </p>
          <button type="button" className="btn xs" disabled={start.isPending} onClick={() => start.mutate(other.input)}>
            <Icon name="play" size={12} />
            {`Run with “${String(other.value)}”`}
          </button>
        </>
      ) : (
        <>
          <p className="t12 i2">
            {`${decided.node} could also have taken ${decided.decision?.allowed
              .filter((one) => !decided.decision?.chosen.some((chosen) => chosen.node === one || chosen.label === one))
              .join(" or ")}.`}
          </p>
          <button type="button" className="btn xs" onClick={() => onAsk(run.input)}>
            <Icon name="play" size={12} />
            Change the input…
          </button>
        </>
      )}
    </aside>
  );
}
