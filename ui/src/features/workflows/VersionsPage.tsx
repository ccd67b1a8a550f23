import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import { versionQuery, versionsQuery } from "@/api/queries";
import { useOverview } from "@/api/useOverview";
import { Problem } from "@/app/errors";
import { versionsRoute } from "@/app/router";
import { Icon } from "@/design/icons";
import { useTitle } from "@/design/useTitle";
import { keepDraft } from "@/features/workbench/useDraft";
import { WorkflowTabs } from "@/features/workbench/WorkbenchPage";
import { lineDiff } from "@/rules/diff";
import { formatted } from "@/rules/document";
import { exact, moment } from "@/rules/time";
import "./versions.css";

export function VersionsPage() {
  const { name } = versionsRoute.useParams();
  const search = versionsRoute.useSearch();
  useTitle(`Versions of ${name}`);
  useOverview();
  const versions = useQuery(versionsQuery(name));
  const rows = useMemo(() => [...(versions.data ?? [])].sort((a, b) => b.version - a.version), [versions.data]);
  const latest = rows[0]?.version ?? 0;
  const shown = search.version ?? latest;
  return (
    <>
      <header className="sub">
        <Link to="/" className="i3 nw plain desk">
          Workflows
        </Link>
        <span className="i3 desk">/</span>
        <h1>{name}</h1>
        <WorkflowTabs name={name} on="versions" />
      </header>
      {versions.error ? (
        <div className="middle">
          <Problem error={versions.error} onRetry={() => void versions.refetch()} />
        </div>
      ) : (
        <div className="versions">
          <ul className="version-list scroll" aria-label="Versions">
            {rows.map((one) => (
              <li key={one.version}>
                <Link
                  to="/workflows/$name/versions"
                  params={{ name }}
                  search={{ version: one.version }}
                  className={one.version === shown ? "version on" : "version"}
                  aria-current={one.version === shown}
                >
                  <span className="m">Version {one.version}</span>
                  {one.version === latest && <span className="tag">latest</span>}
                  <span className="sp" />
                  <span className="t12 i2 num" title={exact(one.created_at)}>
                    {moment(one.created_at)}
                  </span>
                  <span className="mono i3 version-hash" title={one.hash}>
                    {one.hash.slice(0, 8)}
                  </span>
                </Link>
              </li>
            ))}
          </ul>
          {shown > 0 && <Diff name={name} version={shown} latest={latest} />}
        </div>
      )}
    </>
  );
}

function Diff({ name, version, latest }: { name: string; version: number; latest: number }) {
  const navigate = useNavigate();
  const now = useQuery(versionQuery(name, version));
  const before = useQuery({ ...versionQuery(name, version - 1), enabled: version > 1 });
  // Both are laid out alike, so that only what was meant otherwise stands out; a first version is shown as it was typed.
  const lines = useMemo(() => {
    if (!now.data) return [];
    if (version === 1) return lineDiff(now.data.text, now.data.text);
    return before.data ? lineDiff(formatted(before.data.text), formatted(now.data.text)) : [];
  }, [now.data, before.data, version]);
  const changed = lines.filter((line) => line.kind !== "same").length;
  return (
    <section className="diff col sp" aria-label={`Version ${version}`}>
      <div className="diff-head">
        <span className="m">
          {version === 1 ? "Version 1, the first" : `Version ${version} against version ${version - 1}`}
        </span>
        <span className="t12 i3 num">
          {version > 1 && `${changed} ${changed === 1 ? "line differs" : "lines differ"}`}
        </span>
        <span className="sp" />
        {version !== latest && now.data && (
          <button
            type="button"
            className="btn sm"
            onClick={() => {
              keepDraft(name, now.data.text, latest);
              void navigate({ to: "/workflows/$name", params: { name } });
            }}
          >
            <Icon name="undo" size={14} />
            Take it as the draft
          </button>
        )}
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach it. */}
      <section className="scroll diff-lines" tabIndex={0} aria-label="Lines">
        {lines.map((line, i) => (
          <div key={i} className={`dl ${line.kind}`}>
            {version > 1 && <i>{line.before ?? ""}</i>}
            <i>{line.after ?? ""}</i>
            <b>{line.kind === "added" ? "+" : line.kind === "removed" ? "−" : ""}</b>
            <code>{line.text}</code>
          </div>
        ))}
      </section>
    </section>
  );
}
