/** The pane at the foot: journal, timeline, output and outbox of one run. */
import { type ReactNode, useState } from "react";
import type { Run, RunSummary } from "@/api/types";
import type { RunFeed } from "@/api/useRunFeed";
import { DOCKS, type Dock as DockTab } from "@/app/router";
import { recall, remember } from "@/app/theme";
import { Icon } from "@/design/icons";
import { JsonView } from "@/design/Json";
import { useDrag } from "@/design/useDrag";
import type { RunFold } from "@/rules/fold";
import "./journal.css";
import { Journal } from "./Journal";
import { Outbox } from "./Outbox";
import { Timeline } from "./Timeline";

const NAMES: Record<DockTab, string> = { journal: "Journal", timeline: "Timeline", output: "Output", outbox: "Outbox" };

type Props = {
  run: Run | RunSummary | null;
  feed: RunFeed;
  /** What the journal tells, and what else the page knows of the tasks. */
  fold: RunFold;
  tab: DockTab;
  onTab: (tab: DockTab) => void;
  selected: string | null;
  onSelect: (node: string | null) => void;
  fill?: boolean;
};

export function Dock({ run, feed, fold: known, tab, onTab, selected, onSelect, fill = false }: Props) {
  const [filter, setFilter] = useState("");
  const [followed, setFollowed] = useState(true);
  const [folded, setFolded] = useState(() => !fill && recall("dock.folded") === "yes");
  const { size, handle } = useDrag({ name: "dock", initial: 198, least: 120, most: 560, edge: "top" });
  const fold = (value: boolean) => {
    setFolded(value);
    remember("dock.folded", value ? "yes" : "no");
  };
  return (
    <section
      className={`dock${fill ? " fill" : ""}`}
      style={fill ? undefined : { height: folded ? 41 : size }}
      aria-label="Journal, timeline, output and outbox"
    >
      {!fill && !folded && handle("Height of the journal")}
      <header className="dock-head">
        <div className="tabs" role="tablist" aria-label="Views of the run">
          {DOCKS.map((one) => (
            <button
              type="button"
              role="tab"
              key={one}
              aria-selected={one === tab}
              className={one === tab ? "on" : ""}
              onClick={() => {
                onTab(one);
                if (folded) fold(false);
              }}
            >
              {NAMES[one]}
              {one === "journal" && feed.fold.seq > 0 && (
                <s className="num">{`${feed.fold.seq.toLocaleString("en")} ${feed.fold.seq === 1 ? "event" : "events"}`}</s>
              )}
            </button>
          ))}
        </div>
        <span className="sp" />
        {tab === "journal" && (
          <label className="find filter">
            <Icon name="filter" size={14} />
            <input
              value={filter}
              onChange={(event) => setFilter(event.target.value)}
              placeholder="Filter by kind or node"
              aria-label="Filter the journal by kind or node"
            />
          </label>
        )}
        {tab === "timeline" && <TimelineLegend />}
        {tab === "journal" && (
          <button
            type="button"
            className="btn ghost sm"
            aria-pressed={followed}
            onClick={() => setFollowed(!followed)}
            title="Keep the newest event in view"
          >
            {followed && <Icon name="check" size={14} />}
            Follow
          </button>
        )}
        {!fill && (
          <button
            type="button"
            className="btn ghost icon sm"
            onClick={() => fold(!folded)}
            aria-expanded={!folded}
            aria-label={folded ? "Unfold the journal" : "Fold the journal away"}
          >
            <span className={folded ? "turned" : ""}>
              <Icon name="cd" size={14} />
            </span>
          </button>
        )}
      </header>
      {!folded && (
        <div className="dock-body" role="tabpanel" aria-label={NAMES[tab]}>
          {body()}
        </div>
      )}
    </section>
  );

  function body(): ReactNode {
    if (!run)
      return <p className="empty">Nothing has run here yet. Run the workflow, and each event appears in this place.</p>;
    if (tab === "journal") {
      return (
        <Journal
          feed={feed}
          filter={filter}
          follow={followed}
          onFollow={setFollowed}
          selected={selected}
          onSelect={onSelect}
        />
      );
    }
    if (tab === "timeline") return <Timeline feed={feed} fold={known} selected={selected} onSelect={onSelect} />;
    if (tab === "outbox") return <Outbox run={run.id} />;
    return <RunOutput run={run} feed={feed} />;
  }
}

function RunOutput({ run, feed }: { run: Run | RunSummary; feed: RunFeed }) {
  const output = feed.fold.output ?? ("output" in run ? run.output : undefined);
  const input = "input" in run ? run.input : undefined;
  return (
    <div className="two scroll">
      <div>
        <h2 className="h3">Output</h2>
        {run.status === "succeeded" ? (
          <JsonView value={output ?? null} label="Output of the run" />
        ) : (
          <p className="t12 i3">
            {run.finished_at ? "This run ended without an output." : "The output is known when the run ends."}
          </p>
        )}
      </div>
      <div>
        <h2 className="h3">Input</h2>
        <JsonView value={input ?? null} label="Input of the run" />
      </div>
    </div>
  );
}

function TimelineLegend() {
  return (
    <span className="keys desk" aria-hidden="true">
      <i className="k-work" />
      work
      <i className="k-wait hatch-wait" />
      wait
      <i className="k-failed" />
      failed try
      <i className="k-pause" />
      pause before retry
    </span>
  );
}
