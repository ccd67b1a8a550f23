import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { classesQuery } from "@/api/queries";
import type { Json, JsonObject, NodeClass } from "@/api/types";
import { useOverview } from "@/api/useOverview";
import { Problem } from "@/app/errors";
import { nodesRoute } from "@/app/router";
import { Icon, type IconName, isIconName } from "@/design/icons";
import { JsonView } from "@/design/Json";
import { Prose } from "@/design/Prose";
import { useTitle } from "@/design/useTitle";
import { Bars } from "@/features/runs/RunsPage";
import { iconOf } from "@/rules/drawing";
import { exampleOf, paramRows } from "@/rules/params";
import "./nodes.css";

export function NodesPage() {
  const search = nodesRoute.useSearch();
  const navigate = nodesRoute.useNavigate();
  useTitle("Nodes");
  useOverview();
  const classes = useQuery(classesQuery);
  const [text, setText] = useState("");
  const groups = useMemo(() => {
    const wanted = text.toLowerCase();
    const found = new Map<string, NodeClass[]>();
    for (const one of classes.data ?? []) {
      if (![one.name, one.title, one.summary, one.family].some((words) => words.toLowerCase().includes(wanted)))
        continue;
      found.set(one.family, [...(found.get(one.family) ?? []), one]);
    }
    return [...found];
  }, [classes.data, text]);
  const all = classes.data ?? [];
  const shown = all.find((one) => one.name === search.name) ?? groups[0]?.[1][0] ?? null;
  return (
    <>
      <header className="sub">
        <h1 className="title">Nodes</h1>
        {all.length > 0 && <span className="i3 num t12 desk">{all.length} classes</span>}
        <span className="sp" />
        <label className="find">
          <Icon name="search" size={14} />
          <input
            data-search
            value={text}
            onChange={(event) => setText(event.target.value)}
            placeholder="Search node classes"
            aria-label="Search node classes"
          />
          <kbd className="desk">/</kbd>
        </label>
      </header>
      {classes.error ? (
        <div className="middle">
          <Problem error={classes.error} onRetry={() => void classes.refetch()} />
        </div>
      ) : (
        <div className="versions">
          <div className="version-list scroll node-list">
            {classes.isLoading && <Bars rows={8} />}
            {classes.isSuccess && groups.length === 0 && (
              <p className="empty">No class has this in its name or words.</p>
            )}
            {groups.map(([family, members]) => (
              <section key={family} aria-label={family}>
                <h2 className="family">{family ? family.charAt(0).toUpperCase() + family.slice(1) : "Other"}</h2>
                <ul>
                  {members.map((one) => (
                    <li key={one.name}>
                      <button
                        type="button"
                        className={one === shown ? "node-row on" : "node-row"}
                        aria-current={one === shown}
                        onClick={() => void navigate({ search: { name: one.name } })}
                      >
                        <Tile one={one} />
                        <span className="sp">
                          <span className="b cut node-name">{one.title || one.name}</span>
                          <span className="t11 i3 cut node-name">
                            <Prose text={one.summary} />
                          </span>
                        </span>
                      </button>
                    </li>
                  ))}
                </ul>
              </section>
            ))}
          </div>
          {shown && <Docs one={shown} />}
        </div>
      )}
    </>
  );
}

function Tile({ one }: { one: NodeClass }) {
  return (
    <span className={one.decides ? "tile iris" : "tile"}>
      <Icon name={iconOf(one.icon, one.name, isIconName) as IconName} />
    </span>
  );
}

const EFFECTS: Record<string, string> = {
  pure: "Same input, same output; touches nothing.",
  read: "Looks at the world, changes nothing. Runs again if a worker dies.",
  write: "Changes the world; safe to repeat with its idempotency key.",
  irreversible: "Must not happen twice. If a worker dies in the middle, the task is in doubt and a person decides.",
};

function Docs({ one }: { one: NodeClass }) {
  const example = useMemo(() => JSON.stringify(exampleOf(one), null, 2), [one]);
  const rows = useMemo(() => paramRows(one.params_schema), [one]);
  return (
    <article className="docs scroll sp" aria-label={one.title || one.name}>
      <header className="row docs-head">
        <Tile one={one} />
        <div className="sp">
          <h2>{one.title || one.name}</h2>
          <div className="t12 i3">
            <span className="mono">{one.name}</span> · {one.family} · class version {one.class_version}
          </div>
        </div>
      </header>
      <p className="docs-lead">
        <Prose text={one.summary} />
      </p>
      {one.description && one.description !== one.summary && (
        <p className="docs-text i2">
          <Prose text={one.description} />
        </p>
      )}
      <section>
        <h3 className="h3">Effect</h3>
        <p className="t12">
          <span className="tag">{one.effect}</span> <span className="i2">{EFFECTS[one.effect] ?? ""}</span>
        </p>
      </section>
      {one.decides && (
        <section>
          <h3 className="h3 c-iris">Decides</h3>
          <p className="t12 i2">
            {Array.isArray(one.routes) && one.routes.length > 0
              ? `It chooses among ${one.routes.join(", ")}.`
              : "It chooses among the routes or labels that the document gives it."}
          </p>
        </section>
      )}
      <section>
        <h3 className="h3">Params</h3>
        {rows.length === 0 ? (
          <p className="t12 i3">It takes none.</p>
        ) : (
          <table className="params t12">
            <thead>
              <tr>
                <th>Name</th>
                <th>Type</th>
                <th>Default</th>
                <th>What it is for</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.name}>
                  <td className="mono">
                    {row.name}
                    {row.required && <span className="i3"> required</span>}
                  </td>
                  <td className="i2">{row.type}</td>
                  <td className="mono i2">{row.default}</td>
                  <td className="i2">
                    <Prose text={row.description} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>
      <section>
        <h3 className="h3">In a document</h3>
        <JsonView value={JSON.parse(example) as Json} label="Example" />
      </section>
      {one.output_schema && (
        <section>
          <h3 className="h3">Output</h3>
          <JsonView value={one.output_schema as JsonObject} label="Output schema" />
        </section>
      )}
    </article>
  );
}
