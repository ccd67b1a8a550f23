import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "@/api/calls";
import { ApiProblem } from "@/api/client";
import { Icon } from "@/design/icons";
import { StatusIcon } from "@/design/status";

export function NotFound() {
  return (
    <div className="middle">
      <h1 className="title">There is no page at this address</h1>
      <p className="i2">It may have moved, or the link was cut off.</p>
      <Link to="/" className="btn">
        Open the workflows
      </Link>
    </div>
  );
}

export function PageError({ error }: { error: unknown }) {
  return (
    <div className="middle">
      <Problem error={error instanceof Error ? error : new Error(String(error))} />
    </div>
  );
}

/** What went wrong, why, and the next thing to try. */
export function Problem({ error, onRetry }: { error: Error; onRetry?: () => void }) {
  if (error instanceof ApiProblem && error.status === 401) return <KeyForm />;
  const away = error instanceof ApiProblem && error.status === 0;
  return (
    <div className={`ban ${away ? "wait" : "fail"}`} role="alert">
      <span className={away ? "c-wait" : "c-fail"}>{away ? <Icon name="warn" /> : <StatusIcon shape="failed" />}</span>
      <div className="sp">
        <div className="m">
          {error instanceof ApiProblem ? (error.problem?.title ?? error.message) : "The page broke"}
        </div>
        {(!(error instanceof ApiProblem) || error.problem?.detail) && <div className="t12 i2">{error.message}</div>}
      </div>
      <button type="button" className="btn sm" onClick={onRetry ?? (() => location.reload())}>
        Try again
      </button>
    </div>
  );
}

function KeyForm() {
  const [key, setKey] = useState("");
  const [refused, setRefused] = useState<string | null>(null);
  return (
    <form
      className="key-form"
      onSubmit={(event) => {
        event.preventDefault();
        setRefused(null);
        api.openSession(key).then(
          () => location.reload(),
          (error: unknown) => setRefused(error instanceof Error ? error.message : String(error)),
        );
      }}
    >
      <label className="fl" htmlFor="api-key">
        <Icon name="lock" size={14} /> This server asks for its API key
      </label>
      <div className="row">
        <input
          id="api-key"
          className="in"
          type="password"
          autoComplete="off"
          value={key}
          onChange={(event) => setKey(event.target.value)}
        />
        <button type="submit" className="btn pri" disabled={key === ""}>
          Open
        </button>
      </div>
      <p className={refused ? "hint bad" : "hint"} role={refused ? "alert" : undefined}>
        {refused ?? "The value of ORCHESTRATOR_API_KEY. The page keeps a session of 12 hours for it, not the key."}
      </p>
    </form>
  );
}
