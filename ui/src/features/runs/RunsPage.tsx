import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { api } from "@/api/calls";
import type { RunStatus, RunSummary } from "@/api/types";
import { useOverview } from "@/api/useOverview";
import { Problem } from "@/app/errors";
import { isTyping } from "@/app/Frame";
import { type RunsSearch, runsRoute } from "@/app/router";
import { Icon } from "@/design/icons";
import { Prose } from "@/design/Prose";
import { RunStatusText, StatusIcon } from "@/design/status";
import { useMedia } from "@/design/useMedia";
import { useNow } from "@/design/useNow";
import { useTitle } from "@/design/useTitle";
import { FirstRun } from "@/features/workflows/FirstRun";
import { RunAWorkflow } from "@/features/workflows/RunAWorkflow";
import { rowSentence } from "@/rules/banner";
import { isTerminal, LIVE_STATUSES, RUN_STATUSES, runLook, shortId } from "@/rules/status";
import { clock, duration, exact, logLength, micros, moment } from "@/rules/time";
import { OpenRunFile } from "./OpenRunFile";
import "./runs.css";

const PAGE = 50;
const segments: { name: string; status: RunStatus[] }[] = [
  { name: "All", status: [] },
  { name: "Live", status: LIVE_STATUSES },
  { name: "Waiting", status: ["waiting", "paused"] },
  { name: "Failed", status: ["failed"] },
];

export function RunsPage() {
  const search = runsRoute.useSearch();
  useTitle("Runs");
  useOverview();
  const filter = {
    ...(search.status && { status: search.status }),
    ...(search.label && { label: search.label }),
    ...(search.workflow && { workflow: search.workflow }),
    ...(search.text && { text: search.text }),
  };
  const runs = useInfiniteQuery({
    queryKey: ["runs", "list", filter],
    queryFn: ({ pageParam }) => api.listRuns(filter, pageParam, PAGE),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    placeholderData: (before) => before,
  });
  const rows = useMemo(() => runs.data?.pages.flatMap((page) => page.items) ?? [], [runs.data]);
  const filtered = Object.keys(filter).length > 0;
  const none = runs.isSuccess && rows.length === 0 && !filtered;
  return (
    <>
      <header className="sub">
        <h1 className="title">Runs</h1>
        {none && <span className="i3 t12 desk">none yet</span>}
        <span className="sp" />
        <OpenRunFile />
        <RunAWorkflow />
      </header>
      {none ? (
        <FirstRun what="runs" />
      ) : (
        <>
          <Filters search={search} />
          {runs.error && rows.length === 0 ? (
            <div className="middle">
              <Problem error={runs.error} onRetry={() => void runs.refetch()} />
            </div>
          ) : (
            <List
              rows={rows}
              loading={runs.isLoading}
              more={runs.hasNextPage && !runs.isFetchingNextPage}
              onMore={() => void runs.fetchNextPage()}
            />
          )}
          <footer className="foot desk">
            <span className="i3 t12 num">
              {rows.length === 1 ? "1 run" : `${rows.length.toLocaleString("en")} runs`}
              {runs.hasNextPage ? " loaded, more as you scroll" : filtered ? " with this filter" : ""}
            </span>
            <span className="sp" />
            <span className="lgk" aria-hidden="true">
              <i className="kw" />
              over
              <i className="kl" />
              runs
              <i className="hatch-wait kh" />
              waits · length on a log scale
            </span>
            <span className="i3 t12">
              <kbd>J</kbd> <kbd>K</kbd> move &nbsp;<kbd>Enter</kbd> open
            </span>
          </footer>
        </>
      )}
    </>
  );
}

function Filters({ search }: { search: RunsSearch }) {
  const navigate = runsRoute.useNavigate();
  const [text, setText] = useState(search.text ?? "");
  const [adding, setAdding] = useState(false);
  useEffect(() => setText(search.text ?? ""), [search.text]);
  useEffect(() => {
    if (text === (search.text ?? "")) return;
    const timer = setTimeout(() => {
      void navigate({ search: (before) => ({ ...before, text: text || undefined }), replace: true });
    }, 250);
    return () => clearTimeout(timer);
  }, [text, search.text, navigate]);
  const set = (change: Partial<RunsSearch>) => void navigate({ search: (before) => ({ ...before, ...change }) });
  const chosen = search.status ?? [];
  const segment = segments.find(
    (one) => one.status.length === chosen.length && one.status.every((s) => chosen.includes(s)),
  );
  return (
    <div className="fbar">
      <label className="find big">
        <Icon name="search" size={14} />
        <input
          data-search
          value={text}
          onChange={(event) => setText(event.target.value)}
          placeholder="Search by workflow, run id, label or error"
          aria-label="Search runs"
        />
        <kbd className="desk">/</kbd>
      </label>
      {search.workflow && (
        <FilterChip name="workflow" value={search.workflow} onClear={() => set({ workflow: undefined })} />
      )}
      {!segment &&
        chosen.map((status) => (
          <FilterChip
            key={status}
            name="status"
            value={runLook(status as RunStatus).word.toLowerCase()}
            onClear={() => set({ status: chosen.filter((one) => one !== status) })}
          />
        ))}
      {(search.label ?? []).map((label) => (
        <FilterChip
          key={label}
          name={label.split(":")[0] ?? label}
          value={label.slice(label.indexOf(":") + 1)}
          onClear={() => set({ label: (search.label ?? []).filter((one) => one !== label) })}
        />
      ))}
      {adding ? (
        <AddFilter
          onDone={(change) => {
            setAdding(false);
            if (change?.label) set({ label: [...(search.label ?? []), ...change.label] });
            else if (change?.status) set({ status: [...new Set([...(segment ? [] : chosen), ...change.status])] });
            else if (change?.workflow) set({ workflow: change.workflow });
          }}
        />
      ) : (
        <button type="button" className="btn ghost sm desk" onClick={() => setAdding(true)}>
          <Icon name="plus" size={12} />
          Filter
        </button>
      )}
      <span className="sp desk" />
      <fieldset className="seg wide-seg">
        <legend className="hidden-text">Show</legend>
        {segments.map((one) => (
          <button
            type="button"
            key={one.name}
            className={one === segment ? "on" : ""}
            aria-pressed={one === segment}
            onClick={() => set({ status: one.status.length > 0 ? one.status : undefined })}
          >
            {one.name}
          </button>
        ))}
      </fieldset>
    </div>
  );
}

function FilterChip({ name, value, onClear }: { name: string; value: string; onClear: () => void }) {
  return (
    <span className="fc">
      <span className="i2">{name}</span>
      <span className="m">{value}</span>
      <button type="button" onClick={onClear} aria-label={`Remove the filter ${name} ${value}`}>
        <Icon name="x" size={12} className="i3" />
      </button>
    </span>
  );
}

function AddFilter({ onDone }: { onDone: (change: RunsSearch | null) => void }) {
  const [text, setText] = useState("");
  return (
    <form
      className="add-filter"
      onSubmit={(event) => {
        event.preventDefault();
        const value = text.trim();
        const status = RUN_STATUSES.find((one) => one === value.toLowerCase());
        if (status) onDone({ status: [status] });
        else if (/^[^:\s]+:\s*\S/.test(value)) onDone({ label: [value.replace(/:\s+/, ":")] });
        else onDone(value ? { workflow: value } : null);
      }}
    >
      <input
        // biome-ignore lint/a11y/noAutofocus: it opens because a person asked for it.
        autoFocus
        className="in"
        list="run-filters"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onBlur={() => text === "" && onDone(null)}
        onKeyDown={(event) => event.key === "Escape" && onDone(null)}
        placeholder="status, key: value, or a workflow"
        aria-label="Add a filter: a status, a label as key: value, or the name of a workflow"
      />
      <datalist id="run-filters">
        {RUN_STATUSES.map((status) => (
          <option key={status} value={status} />
        ))}
      </datalist>
    </form>
  );
}

function List({
  rows,
  loading,
  more,
  onMore,
}: {
  rows: RunSummary[];
  loading: boolean;
  more: boolean;
  onMore: () => void;
}) {
  const scroller = useRef<HTMLDivElement>(null);
  const phone = useMedia("(max-width: 640px)");
  const [current, setCurrent] = useState(-1);
  const navigate = useNavigate();
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => (phone ? 93 : 40),
    getItemKey: (index) => rows[index]?.id ?? index,
    overscan: 10,
  });
  const items = virtual.getVirtualItems();
  const lastShown = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && lastShown >= rows.length - 10 && rows.length > 0) onMore();
  }, [more, lastShown, rows.length, onMore]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the sizes follow the kind of screen.
  useEffect(() => virtual.measure(), [phone]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      if (document.querySelector("dialog[open]")) return;
      const move = event.key === "j" ? 1 : event.key === "k" ? -1 : 0;
      if (move !== 0 && rows.length > 0) {
        const next = Math.min(rows.length - 1, Math.max(0, current + move));
        setCurrent(next);
        virtual.scrollToIndex(next);
      } else if (event.key === "Enter" && event.target === document.body) {
        const run = rows[current];
        if (run) void navigate({ to: "/runs/$id", params: { id: run.id } });
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [rows, current, virtual, navigate]);
  return (
    <div className="list" ref={scroller}>
      <div className="rw th desk" aria-hidden="true">
        <span>Status</span>
        <span>Workflow</span>
        <span>Run</span>
        <span>Now, or how it ended</span>
        <span>Labels</span>
        <span className="row started">
          Started <Icon name="cd" size={12} />
        </span>
        <span className="right">Duration</span>
        <span>Length</span>
      </div>
      {loading && <Bars />}
      {!loading && rows.length === 0 && (
        <p className="empty">No run matches. Take a filter away, or search for a part of the run’s id.</p>
      )}
      <ul style={{ height: virtual.getTotalSize(), position: "relative" }} aria-label="Runs">
        {items.map((item) => {
          const run = rows[item.index];
          return run ? <Row key={item.key} run={run} top={item.start} on={item.index === current} /> : null;
        })}
      </ul>
    </div>
  );
}

function Row({ run, top, on }: { run: RunSummary; top: number; on: boolean }) {
  const words = rowSentence(run);
  const tones = { plain: "i2", quiet: "i3", wait: "c-wait", fail: "c-fail", doubt: "c-doubt" };
  const started = run.started_at ?? run.created_at;
  return (
    <li style={{ position: "absolute", left: 0, right: 0, transform: `translateY(${top}px)` }}>
      <Link to="/runs/$id" params={{ id: run.id }} className={on ? "rw on" : "rw"}>
        <span className="c1">
          <RunStatusText status={run.status} />
        </span>
        <span className="c2">
          <span className="m cut">{run.workflow}</span>
          <span className="i3 t12 nw">
            <span className="hidden-text">version </span>
            {run.version}
          </span>
        </span>
        <span className="c3 mono i2">{shortId(run.id)}</span>
        <span className={`c4 cut ${tones[words.tone]}`} title={words.text}>
          {words.tone === "doubt" && (
            <b className="dd">
              <StatusIcon shape="doubt" size={14} />
            </b>
          )}
          <Prose text={words.text} />
        </span>
        <span className="c5">
          {Object.entries(run.labels).map(([key, value]) => (
            <span className="lab" key={key}>{`${key}: ${value}`}</span>
          ))}
        </span>
        <span className="c6 num i2 nw" title={exact(started)}>
          {moment(started)}
        </span>
        <span className="c7 num">
          <span className="mt">{clock(started).slice(0, 5)} · </span>
          <Took run={run} />
        </span>
        <span className="c8">
          <Spark run={run} />
        </span>
      </Link>
    </li>
  );
}

function lengthOf(run: RunSummary, nowMs: number): number | null {
  if (run.duration_us !== null) return run.duration_us;
  if (!run.started_at) return null;
  return (run.finished_at ? micros(run.finished_at) : nowMs * 1000) - micros(run.started_at);
}

function Took({ run }: { run: RunSummary }) {
  const now = useNow(isTerminal(run.status) ? 3_600_000 : 1000);
  const us = lengthOf(run, now);
  return us === null ? null : duration(us);
}

/** How long it is on a log scale, drawn as what it does now: over, running, waiting, in doubt; a red end is a failure. */
function Spark({ run }: { run: RunSummary }) {
  const us = run.status === "queued" ? null : lengthOf(run, Date.now());
  if (us === null) return <span className="spk" />;
  const now =
    run.tasks.in_doubt > 0 ? "kd" : run.status === "running" ? "kl" : run.status === "waiting" ? "hatch-wait kh" : "kw";
  return (
    <span className="spk" aria-hidden="true">
      <i className={now} style={{ width: `${logLength(us) * 100}%` }} />
      {run.status === "failed" && <i className="kr end" />}
    </span>
  );
}

export function Bars({ rows = 6 }: { rows?: number }) {
  return (
    <div className="late" aria-hidden="true">
      {Array.from({ length: rows }, (_, i) => (
        <div className="skeleton" key={i}>
          <i style={{ width: 72 }} />
          <i style={{ width: 148 }} />
          <i style={{ width: 48 }} />
          <i style={{ width: 260 }} />
        </div>
      ))}
    </div>
  );
}
