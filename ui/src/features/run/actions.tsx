/** What a person may do with a run: the buttons, and the dialogs that ask before something starts or ends. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "@/api/calls";
import { BASE } from "@/api/client";
import type { Run } from "@/api/types";
import { Icon } from "@/design/icons";
import { sayProblem } from "@/design/toasts";
import type { RunFold } from "@/rules/fold";
import { actionsOf, type RunAction } from "@/rules/status";
import { RunDialogs } from "./RunDialogs";
import type { RunView } from "./useRunView";

/** With what a fork begins: where a person asked for it. */
export type ForkWish = { decision?: { path: string; route: string }; output?: string; input?: boolean; seq?: number };
export type Asking =
  | { what: "cancel" | "retry" | "raise" }
  | ({ what: "fork" } & ForkWish)
  | { what: "signal"; name: string | null }
  | { what: "resolve"; path: string };

export function useRunActions(view: RunView) {
  const { run } = view;
  const [asking, setAsking] = useState<Asking | null>(null);
  const client = useQueryClient();
  const navigate = useNavigate();
  const turn = useMutation({
    mutationFn: (what: "pause" | "resume") => (what === "pause" ? api.pause(run?.id ?? "") : api.resume(run?.id ?? "")),
    onSettled: () => client.invalidateQueries({ queryKey: ["runs"] }),
    onError: sayProblem,
  });
  const dialogs = run && asking && (
    <RunDialogs
      view={view}
      run={run}
      asking={asking}
      onClose={() => setAsking(null)}
      onForked={(forked: Run) => void navigate({ to: "/runs/$id", params: { id: forked.id } })}
    />
  );
  return { ask: setAsking, turn, dialogs };
}

/** What the server wouldn't refuse, as far as the page knows. */
function allowedActions(run: Run, fold: RunFold): ReadonlySet<RunAction> {
  if (run.imported) return new Set(["fork"]);
  const allowed = new Set(actionsOf(run.status));
  // What has begun to be taken back isn't taken up again; and a spent budget is raised, not resumed.
  if (run.compensation) allowed.delete("retry");
  if (fold.spentOut.length > 0 && !fold.paused) allowed.delete("resume");
  return allowed;
}

export function RunButtons({
  view,
  actions,
  brief = false,
}: {
  view: RunView;
  actions: ReturnType<typeof useRunActions>;
  brief?: boolean;
}) {
  const { run } = view;
  if (!run) return null;
  const allowed = allowedActions(run, view.fold);
  const { ask, turn } = actions;
  return (
    <>
      {!brief && (
        <a
          className="btn ghost icon sm"
          href={`${BASE}/runs/${encodeURIComponent(run.id)}/export`}
          download
          aria-label="Download run"
          title="Download run: its version, journal and values in one file"
        >
          <Icon name="download" size={14} />
        </a>
      )}
      {allowed.has("fork") && !brief && (
        <button type="button" className="btn sm" onClick={() => ask({ what: "fork" })}>
          <Icon name="fork" size={14} />
          Fork…
        </button>
      )}
      {allowed.has("retry") && (
        <button type="button" className="btn sm" onClick={() => ask({ what: "retry" })}>
          <Icon name="retry" size={14} />
          Retry failed…
        </button>
      )}
      {allowed.has("pause") && (
        <button type="button" className="btn sm" disabled={turn.isPending} onClick={() => turn.mutate("pause")}>
          <Icon name="pause" size={14} />
          Pause
        </button>
      )}
      {allowed.has("resume") && (
        <button type="button" className="btn sm" disabled={turn.isPending} onClick={() => turn.mutate("resume")}>
          <Icon name="play" size={14} />
          Resume
        </button>
      )}
      {allowed.has("cancel") && (
        <button type="button" className="btn sm" onClick={() => ask({ what: "cancel" })}>
          <Icon name="x" size={14} />
          Cancel…
        </button>
      )}
    </>
  );
}
