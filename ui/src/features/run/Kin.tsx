/** The runs that this one belongs with: whom it was forked from, who started it, what it goes on for, what it started. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Run } from "@/api/types";
import { Icon } from "@/design/icons";
import { StatusIcon } from "@/design/status";
import { nodeOfPath } from "@/rules/fold";
import { runLook, shortId } from "@/rules/status";
import { moment } from "@/rules/time";
import type { RunView } from "./useRunView";

const SHOWN = 6;

export function Kin({ run, view }: { run: Run; view: RunView }) {
  const { children } = view;
  const next = run.continued_as ?? view.fold.continuedAs;
  const parts: ReactNode[] = [];
  if (run.forked_from) {
    parts.push(
      <span key="fork">
        <Icon name="fork" size={12} />
        Fork of <RunLink id={run.forked_from.run} /> {`at event ${run.forked_from.seq.toLocaleString("en")}`}
      </span>,
    );
  }
  if (run.parent) {
    parts.push(
      <span key="parent">
        Started by <RunLink id={run.parent.run} node={nodeOfPath(run.parent.path)} />, task {run.parent.path}
      </span>,
    );
  }
  if (run.continues) {
    parts.push(
      <span key="continues">
        Goes on for <RunLink id={run.continues} />
      </span>,
    );
  }
  if (next) {
    parts.push(
      <span key="next">
        <Icon name="arr" size={12} />
        Went on as <RunLink id={next} />: this one ended when it handed over
      </span>,
    );
  }
  if (children.length > 0) {
    parts.push(
      <span key="children">
        {children.length === 1
          ? "Started"
          : `Started ${children.length >= 100 ? "100 or more" : children.length} runs:`}
        {children.slice(0, SHOWN).map((child) => (
          <Link key={child.id} to="/runs/$id" params={{ id: child.id }} className="row" title={child.workflow}>
            <StatusIcon shape={runLook(child.status).shape} size={12} label={runLook(child.status).word} />
            {`run ${shortId(child.id)}`}
            {children.length === 1 && ` of ${child.workflow}`}
          </Link>
        ))}
        {children.length > SHOWN && `and ${children.length - SHOWN} more`}
      </span>,
    );
  }
  if (run.imported) {
    parts.push(<span key="imported" title={run.imported.run}>{`Read from a file, ${moment(run.imported.at)}`}</span>);
  }
  if (parts.length === 0) return null;
  return (
    <nav className="kin t12 i2" aria-label="Runs that belong with this one">
      {parts}
    </nav>
  );
}

function RunLink({ id, node }: { id: string; node?: string }) {
  return (
    <Link to="/runs/$id" params={{ id }} {...(node && { search: { node } })}>
      {`run ${shortId(id)}`}
    </Link>
  );
}
