/** Search over everything, and the page's commands: Ctrl+K. */
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useMemo, useState } from "react";
import { api } from "@/api/calls";
import { classesQuery, workflowsQuery } from "@/api/queries";
import { useTheme } from "@/app/theme";
import { Dialog } from "@/design/Dialog";
import { Icon, type IconName } from "@/design/icons";
import { StatusIcon } from "@/design/status";
import { runLook, type StatusShape, shortId } from "@/rules/status";
import { moment } from "@/rules/time";
import "./palette.css";

type Entry = { key: string; name: string; what: string; icon: IconName; shape?: StatusShape; go: () => void };

export function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const navigate = useNavigate();
  const toggle = useTheme((state) => state.toggle);
  const workflows = useQuery(workflowsQuery()).data ?? [];
  const classes = useQuery(classesQuery).data ?? [];
  const [searched, setSearched] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setSearched(text), 150);
    return () => clearTimeout(timer);
  }, [text]);
  const runs =
    useQuery({
      queryKey: ["runs", "palette", searched],
      queryFn: async () => (await api.listRuns(searched ? { text: searched } : {}, null, 6)).items,
      placeholderData: (before) => before,
    }).data ?? [];
  const entries = useMemo(() => {
    const all: Entry[] = [
      ...workflows.map((one) => ({
        key: `w${one.name}`,
        name: one.name,
        what: "workflow",
        icon: "flow" as const,
        go: () => void navigate({ to: "/workflows/$name", params: { name: one.name } }),
      })),
      ...classes.map((one) => ({
        key: `n${one.name}`,
        name: one.title || one.name,
        what: `node class ${one.name}`,
        icon: "grid" as const,
        go: () => void navigate({ to: "/nodes", search: { name: one.name } }),
      })),
      { key: "new", name: "New workflow", what: "command", icon: "plus", go: () => void navigate({ to: "/new" }) },
      { key: "runs", name: "Open the runs", what: "command", icon: "list", go: () => void navigate({ to: "/runs" }) },
      {
        key: "failed",
        name: "Show failed runs",
        what: "command",
        icon: "list",
        go: () => void navigate({ to: "/runs", search: { status: ["failed"] } }),
      },
      { key: "theme", name: "Change the theme", what: "command", icon: "moon", go: toggle },
    ];
    const wanted = text.toLowerCase();
    const found = all.filter((one) => `${one.name} ${one.what}`.toLowerCase().includes(wanted));
    const recent: Entry[] = runs.map((run) => ({
      key: `r${run.id}`,
      name: `${run.workflow}, run ${shortId(run.id)}`,
      what: `${runLook(run.status).word.toLowerCase()}, ${moment(run.created_at)}`,
      icon: "list",
      shape: runLook(run.status).shape,
      go: () => void navigate({ to: "/runs/$id", params: { id: run.id } }),
    }));
    return wanted
      ? [...found.slice(0, 12), ...recent]
      : [...found.filter((one) => !one.key.startsWith("n")).slice(0, 8), ...recent];
  }, [workflows, classes, runs, text, navigate, toggle]);
  const current = Math.min(at, entries.length - 1);
  const take = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    entry.go();
  };
  return (
    <Dialog opened onClose={onClose} title="Search or run a command" width={560}>
      <input
        autoFocus
        className="in"
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={entries[current] ? `palette-${current}` : undefined}
        aria-label="Search"
        value={text}
        placeholder="A workflow, a run, a node class, a command"
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(entries.length - 1, current + 1));
          else if (event.key === "ArrowUp") setAt(Math.max(0, current - 1));
          else if (event.key === "Enter") take(entries[current]);
          else return;
          event.preventDefault();
        }}
      />
      <div id="palette-list" role="listbox" aria-label="Found" className="palette">
        {entries.map((entry, i) => (
          <div
            key={entry.key}
            id={`palette-${i}`}
            role="option"
            tabIndex={-1}
            aria-selected={i === current}
            className={i === current ? "found on" : "found"}
            onMouseMove={() => setAt(i)}
            onClick={() => take(entry)}
            onKeyDown={(event) => event.key === "Enter" && take(entry)}
          >
            {entry.shape ? (
              <StatusIcon shape={entry.shape} size={14} />
            ) : (
              <Icon name={entry.icon} size={14} className="i2" />
            )}
            <span className="m cut">{entry.name}</span>
            <span className="sp" />
            <span className="t12 i2 cut">{entry.what}</span>
          </div>
        ))}
      </div>
      {entries.length === 0 && <p className="empty">Nothing has this in its name.</p>}
    </Dialog>
  );
}
