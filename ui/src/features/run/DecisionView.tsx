import { useMemo } from "react";
import type { Decision, JournalEvent } from "@/api/types";
import { Icon } from "@/design/icons";
import { forkPoints, forkPreview } from "@/rules/fork";

type Props = { decision: Decision; events: readonly JournalEvent[]; path: string; onFork: (route?: string) => void };

/** Chosen and rejected routes; the chosen one first, with its reason. */
export function DecisionView({ decision, events, path, onFork }: Props) {
  const named = new Set(decision.chosen.flatMap((one) => [one.node, one.label ?? one.node]));
  const rejected = decision.allowed.filter((one) => !named.has(one));
  const before = useMemo(() => {
    const at = events.find((event) => event.kind === "decision_made" && event.path === path)?.seq;
    if (at === undefined) return null;
    const point = forkPoints(events)
      .filter((one) => one.seq < at)
      .at(-1);
    return point ? { seq: point.seq, words: forkPreview(events, point.seq) } : null;
  }, [events, path]);
  return (
    <>
      <section className="sec">
        <h3 className="h3">
          <span className="sp">Chosen and rejected</span>
          <span className="t11 i3 regular">
            {decision.confidence !== null ? "confidence" : `by ${decision.model ?? decision.by}`}
          </span>
        </h3>
        {decision.chosen.length === 0 && <p className="t12 i2">It ended its path here.</p>}
        {decision.chosen.map((one) => (
          <div className="alt ch" key={`${one.label}${one.node}`}>
            <div className="row">
              <Icon name="check" size={14} className="c-iris" />
              <span className="sp cut">
                {one.label && (
                  <>
                    <span className="b c-iris">{one.label}</span>
                    <span className="i3"> → </span>
                  </>
                )}
                <span className="b">{one.node}</span>
              </span>
              {decision.confidence !== null && (
                <>
                  <span className="cb">
                    <i style={{ width: `${decision.confidence * 100}%` }} />
                  </span>
                  <span className="num t12 m">{decision.confidence.toFixed(2)}</span>
                </>
              )}
            </div>
            {decision.reason && <div className="t12 i2 why-line wrap">{decision.reason}</div>}
          </div>
        ))}
        {rejected.map((one) => (
          <div className="alt" key={one}>
            <div className="row">
              <Icon name="minus" size={14} className="i3" />
              <span className="m i2 sp cut">{one}</span>
              <span className="t12 i3">not chosen</span>
            </div>
          </div>
        ))}
        {before && (
          <div className="row other-way">
            <button type="button" className="btn sm iris" onClick={() => onFork(rejected[0])}>
              <Icon name="fork" size={14} />
              Run the other way…
            </button>
            <span className="t11 i3">{`Fork at event ${before.seq}: ${before.words}`}</span>
          </div>
        )}
      </section>
      <section className="sec">
        <h3 className="h3">Who decided</h3>
        <dl className="facts t12">
          <dt>By</dt>
          <dd>{decision.by}</dd>
          {decision.model && (
            <>
              <dt>Model</dt>
              <dd>{decision.model}</dd>
            </>
          )}
          <dt>Allowed</dt>
          <dd>{decision.allowed.join(", ")}</dd>
          {decision.cost_usd !== null && (
            <>
              <dt>Cost</dt>
              <dd className="num">{`$${decision.cost_usd.toFixed(3)}`}</dd>
            </>
          )}
        </dl>
      </section>
    </>
  );
}
