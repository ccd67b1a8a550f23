/** What a fork would reuse, run again, repeat and cost: the repeats first, because they reach the world. */
import type { ReactNode } from "react";
import type { ForkPlan } from "@/api/types";
import { Prose } from "@/design/Prose";
import { StatusIcon } from "@/design/status";
import { costWords, repeatsWords } from "@/rules/fork";

const SHOWN = 8;

export function ForkPlanView({ plan }: { plan: ForkPlan }) {
  const repeats = repeatsWords(plan);
  const count = (n: number) => (n === 1 ? "1 task" : `${n.toLocaleString("en")} tasks`);
  return (
    <>
      <h3 className="h3">What that means</h3>
      <p className="i2 t12">
        <Prose text={plan.sentence} />
      </p>
      {repeats ? (
        <div className="ban fail fork-repeats">
          <StatusIcon shape="failed" />
          <div className="sp">
            <div className="m c-fail">{`${repeats} would repeat`}</div>
            <ul className="t12">
              {plan.repeats.items.slice(0, SHOWN).map((one) => (
                <li key={one.path} className="row">
                  <span className="b cut">{one.path}</span>
                  <span className="sp" />
                  <span className={one.effect === "irreversible" ? "tag bad" : "tag"}>
                    {one.steps.length > 0 ? one.steps.map((step) => step.name).join(", ") : one.effect}
                  </span>
                </li>
              ))}
              <More total={plan.repeats.total} />
            </ul>
          </div>
        </div>
      ) : (
        <p className="row t12 c-ok fork-clean">
          <StatusIcon shape="ok" size={14} />
          Nothing is done to the world a second time.
        </p>
      )}
      <dl className="facts fork-facts t12">
        <dt>Cut after</dt>
        <dd className="num">{`event ${plan.seq.toLocaleString("en")}`}</dd>
        <dt>Reused</dt>
        <dd>{plan.reused.total === 0 ? "nothing" : `${count(plan.reused.total)}, not run again`}</dd>
        <dt>Runs again</dt>
        <dd>{count(plan.estimate.tasks)}</dd>
        <dt>Cost</dt>
        <dd className="num">{costWords(plan)}</dd>
        {plan.version !== 0 && (
          <>
            <dt>Version</dt>
            <dd className="num">{plan.version}</dd>
          </>
        )}
      </dl>
      <Names title="Gets what you give" names={[...plan.completed, ...plan.replaced]} />
      <Names title="Starts at once" names={plan.starts.items.map((one) => one.path)} total={plan.starts.total} />
      <Names title="And behind it" names={plan.later.items.map((one) => one.path)} total={plan.later.total} />
      <Names title="This run didn’t come to" names={plan.new.items.map((one) => one.node)} total={plan.new.total} />
      <Names
        title="Child runs, started again"
        names={plan.children.items.map((one) => `${one.workflow} (${count(one.tasks)})`)}
        total={plan.children.total}
      />
      {plan.children_unread > 0 && (
        <p className="hint">{`The effects of ${plan.children_unread} more child runs aren’t counted.`}</p>
      )}
    </>
  );
}

function Names({ title, names, total = names.length }: { title: string; names: string[]; total?: number }): ReactNode {
  if (total === 0) return null;
  return (
    <div className="fork-names t12">
      <span className="i3">{title}</span>
      <span className="wrap">
        {names.slice(0, SHOWN).join(", ")}
        {total > SHOWN && ` and ${(total - SHOWN).toLocaleString("en")} more`}
      </span>
    </div>
  );
}

function More({ total }: { total: number }) {
  return total > SHOWN ? <li className="i2">{`and ${(total - SHOWN).toLocaleString("en")} more`}</li> : null;
}
