import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { api } from "@/api/calls";
import { taskQuery } from "@/api/queries";
import type { Json, Run } from "@/api/types";
import { Dialog } from "@/design/Dialog";
import { JsonView } from "@/design/Json";
import { JsonField, readJson } from "@/design/JsonField";
import { shortId } from "@/rules/status";
import type { Asking } from "./actions";
import { ForkDialog } from "./ForkDialog";
import { RaiseDialog } from "./RaiseDialog";
import type { RunView } from "./useRunView";

export type Props = { view: RunView; run: Run; asking: Asking; onClose: () => void; onForked: (run: Run) => void };

export function RunDialogs(props: Props) {
  switch (props.asking.what) {
    case "cancel":
      return <CancelDialog {...props} />;
    case "raise":
      return <RaiseDialog {...props} />;
    case "retry":
      return <RetryDialog {...props} />;
    case "fork":
      return <ForkDialog {...props} wish={props.asking} />;
    case "signal":
      return <SignalDialog {...props} name={props.asking.name} />;
    case "resolve":
      return <ResolveDialog {...props} path={props.asking.path} />;
  }
}

/** The common frame: one question, one button with a verb and its object, the server's refusal in words. */
export function Ask<T>({
  title,
  button,
  danger = false,
  leave = "Keep it",
  disabled = false,
  send,
  onDone,
  onClose,
  width,
  children,
}: {
  title: string;
  button: string;
  danger?: boolean;
  leave?: string;
  disabled?: boolean;
  send: () => Promise<T>;
  onDone?: (answer: T) => void;
  onClose: () => void;
  width?: number;
  children: ReactNode;
}) {
  const client = useQueryClient();
  const formId = useId();
  const call = useMutation({
    mutationFn: send,
    onSuccess: (answer) => {
      void client.invalidateQueries({ queryKey: ["runs"] });
      onClose();
      onDone?.(answer);
    },
  });
  return (
    <Dialog
      opened
      onClose={onClose}
      title={title}
      {...(width ? { width } : {})}
      footer={
        <>
          <span className="sp" />
          <button type="button" className="btn" onClick={onClose}>
            {leave}
          </button>
          <button
            type="submit"
            form={formId}
            className={danger ? "btn danger" : "btn pri"}
            disabled={disabled || call.isPending}
          >
            {button}
          </button>
        </>
      }
    >
      <form
        id={formId}
        onSubmit={(event: FormEvent) => {
          event.preventDefault();
          if (!disabled) call.mutate();
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !disabled) call.mutate();
        }}
      >
        {children}
        {call.error && (
          <p className="hint bad" role="alert">
            {call.error.message}
          </p>
        )}
      </form>
    </Dialog>
  );
}

function CancelDialog({ run, view, onClose }: Props) {
  const [reason, setReason] = useState("");
  const id = useId();
  const { tasks, openItems } = view.fold;
  const running = [...Object.values(tasks), ...Object.values(openItems)].filter(
    (task) => task.status === "running",
  ).length;
  return (
    <Ask
      title={`Cancel run ${shortId(run.id)}`}
      button="Cancel the run"
      danger
      send={() => api.cancel(run.id, reason)}
      onClose={onClose}
    >
      <p className="i2">
        {running === 0
          ? "Nothing new starts, and the run ends as cancelled. This cannot be undone; a fork can take it up again."
          : `${running === 1 ? "The running task is" : `${running} running tasks are`} asked to end, nothing new starts, and the run ends as cancelled. This cannot be undone; a fork can take it up again.`}
      </p>
      <div className="field spaced">
        <label className="fl" htmlFor={id}>
          Reason, for the journal
        </label>
        <input id={id} className="in" value={reason} onChange={(event) => setReason(event.target.value)} />
      </div>
    </Ask>
  );
}

function RetryDialog({ run, view, onClose }: Props) {
  const failed = Object.values(view.fold.tasks).filter(
    (task) => task.status === "failed" || task.status === "cancelled",
  );
  const kept = Object.values(view.fold.tasks).filter((task) => task.status === "completed").length;
  return (
    <Ask title="Retry failed" button="Retry failed" send={() => api.retry(run.id)} onClose={onClose}>
      <p className="i2">
        The same run goes on. {kept === 1 ? "1 result is" : `${kept} results are`} kept and not computed again. These
        tasks run again, and what follows them:
      </p>
      <ul className="names">
        {failed.map((task) => (
          <li key={task.path}>
            <span className="b">{task.path}</span>
            <span className="i3 t12"> {task.error?.message ?? "stopped by the failure"}</span>
          </li>
        ))}
      </ul>
    </Ask>
  );
}

function SignalDialog({ run, name: given, onClose }: Props & { name: string | null }) {
  const waited = run.waiting_for?.wakers.filter((waker) => waker.kind === "signal" && waker.name) ?? [];
  const [name, setName] = useState(given ?? waited[0]?.name ?? "");
  const [payload, setPayload] = useState("null");
  const [key] = useState(() => crypto.randomUUID());
  const [nameId, listId] = [useId(), useId()];
  const parsed = readJson(payload);
  return (
    <Ask
      title="Send a signal"
      button={name ? `Send “${name}”` : "Send the signal"}
      leave="Not now"
      disabled={!parsed.ok || name === ""}
      send={() => api.signal(run.id, name, parsed.ok ? parsed.value : null, key)}
      onClose={onClose}
    >
      <div className="field">
        <label className="fl" htmlFor={nameId}>
          Name
        </label>
        <input
          id={nameId}
          className="in"
          list={listId}
          value={name}
          onChange={(event) => setName(event.target.value)}
        />
        <datalist id={listId}>
          {waited.map((waker) => (
            <option key={waker.name} value={waker.name ?? ""} />
          ))}
        </datalist>
        <p className="hint">Signals are kept in order; a task that waits for this name takes the oldest.</p>
      </div>
      <div className="field">
        <JsonField label="Payload" value={payload} onChange={setPayload} rows={5} />
      </div>
    </Ask>
  );
}

type Action = "done" | "retry" | "skip" | "fail";

const resolutions: [Action, string, string][] = [
  ["done", "It happened", "The task completes with the output below."],
  ["retry", "It did not happen: run it again", "The task runs once more."],
  ["skip", "Go on without it", "The task counts as skipped; its output is null."],
  ["fail", "It failed", "The task fails with the message below."],
];

function ResolveDialog({ run, path, onClose }: Props & { path: string }) {
  const [action, setAction] = useState<Action>("done");
  const [output, setOutput] = useState("null");
  const [message, setMessage] = useState("");
  const messageId = useId();
  const late = useQuery(taskQuery(run.id, path)).data?.late ?? null;
  const parsed = readJson(output);
  const body = (): { action: Action; output?: Json; message?: string } => ({
    action,
    ...(action === "done" && parsed.ok && { output: parsed.value }),
    ...(message && { message }),
  });
  return (
    <Ask
      title={`What became of ${path}?`}
      button={`Record: ${resolutions.find(([one]) => one === action)?.[1].toLowerCase() ?? action}`}
      leave="Decide later"
      disabled={action === "done" && !parsed.ok}
      send={() => api.resolve(run.id, path, body())}
      onClose={onClose}
    >
      {late !== null && (
        <div className="ban doubt late-answer">
          <div className="sp">
            <div className="m">A result came too late</div>
            <div className="t12 i2">A worker that had lost its lease reported it. It decides nothing: you do.</div>
            <JsonView value={late} label="Late result" />
          </div>
          <button
            type="button"
            className="btn sm"
            onClick={() => {
              setAction("done");
              setOutput(JSON.stringify(late, null, 2));
            }}
          >
            Use it as the output
          </button>
        </div>
      )}
      <fieldset className="choices">
        <legend className="hidden-text">What happened</legend>
        {resolutions.map(([value, label, what]) => (
          <label key={value} className={value === action ? "choice on" : "choice"}>
            <input
              type="radio"
              name="action"
              value={value}
              checked={value === action}
              onChange={() => setAction(value)}
            />
            <span>
              <span className="m">{label}</span>
              <span className="hint">{what}</span>
            </span>
          </label>
        ))}
      </fieldset>
      {action === "done" && (
        <div className="field spaced">
          <JsonField label="Output" value={output} onChange={setOutput} rows={4} />
        </div>
      )}
      <div className="field spaced">
        <label className="fl" htmlFor={messageId}>
          Note, for the journal
        </label>
        <input id={messageId} className="in" value={message} onChange={(event) => setMessage(event.target.value)} />
      </div>
    </Ask>
  );
}
