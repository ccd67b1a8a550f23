import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import type { FeedRow, RunFeed } from "@/api/useRunFeed";
import { sayProblem } from "@/design/toasts";
import { describe, describeNotice, type JournalWords, matches } from "@/rules/journal";
import { exact, offset } from "@/rules/time";

type Props = {
  feed: RunFeed;
  filter: string;
  follow: boolean;
  onFollow: (follow: boolean) => void;
  selected: string | null;
  onSelect: (node: string | null) => void;
};

const ROW = 24;

export function Journal({ feed, filter, follow, onFollow, selected, onSelect }: Props) {
  const scroller = useRef<HTMLElement>(null);
  const rows = useMemo(() => {
    const all: FeedRow[] = [...feed.events.map((event) => ({ live: false as const, event })), ...feed.notices];
    return all.filter((row) => matches(row.live ? row.notice : row.event, filter));
  }, [feed.events, feed.notices, filter]);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
    paddingStart: 6,
    paddingEnd: 6,
  });
  const [reading, setReading] = useState(false);
  const readMore = () => {
    setReading(true);
    onFollow(false);
    feed
      .readMore()
      .catch(sayProblem)
      .finally(() => setReading(false));
  };
  const start = feed.fold.startedAt ?? feed.events[0]?.at ?? "";
  useEffect(() => {
    if (follow && rows.length > 0) virtual.scrollToIndex(rows.length - 1, { align: "end" });
  }, [follow, rows, virtual]);
  return (
    <section
      ref={scroller}
      className="jl"
      aria-label="Journal"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach it.
      tabIndex={0}
      onWheel={(event) => {
        if (event.deltaY < 0 && follow) onFollow(false);
      }}
    >
      {feed.unread > 0 && (
        <div className="jl-more t12 i2">
          <span className="num">{`Events 1 to ${feed.unread.toLocaleString("en")} are not shown.`}</span>
          <button type="button" className="btn xs" disabled={reading} onClick={readMore}>
            Show 500 earlier events
          </button>
        </div>
      )}
      {rows.length === 0 && (
        <p className="empty">{filter ? "No event of this kind or node." : "No event has been recorded yet."}</p>
      )}
      <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
        {virtual.getVirtualItems().map((item) => {
          const row = rows[item.index];
          if (!row) return null;
          return (
            <Row
              key={row.live ? `live${item.index}` : row.event.seq}
              row={row}
              top={item.start}
              start={start}
              selected={selected}
              onSelect={onSelect}
            />
          );
        })}
      </div>
    </section>
  );
}

function Row({
  row,
  top,
  start,
  selected,
  onSelect,
}: {
  row: FeedRow;
  top: number;
  start: string;
  selected: string | null;
  onSelect: (node: string | null) => void;
}) {
  const fact = row.live ? row.notice : row.event;
  const words = row.live ? describeNotice(row.notice) : describe(row.event);
  const node = fact.node ?? null;
  const classes = ["jr", words.tone];
  if (row.live) classes.push("lv");
  if (node !== null && node === selected) classes.push("sel");
  const content = (
    <>
      <span className="num i3 right first">{row.live ? "live" : row.event.seq}</span>
      <span className="num i3 right when" title={exact(fact.at)}>
        {start ? offset(fact.at, start) : ""}
      </span>
      <span className="mono kd cut">{row.live ? fact.kind.replaceAll("_", " ") : fact.kind}</span>
      <span className="m cut" title={fact.path ?? undefined}>
        {fact.path ?? ""}
      </span>
      <Words words={words} />
    </>
  );
  const style = { transform: `translateY(${top}px)` };
  if (node === null) {
    return (
      <div className={classes.join(" ")} style={style}>
        {content}
      </div>
    );
  }
  return (
    <button type="button" className={classes.join(" ")} style={style} tabIndex={-1} onClick={() => onSelect(node)}>
      {content}
    </button>
  );
}

/** The value may be cut, what is said after it (how long, by whom) is not. */
function Words({ words }: { words: JournalWords }) {
  const tail = words.tail.join(" · ");
  if (!words.code) {
    return (
      <span className="cut">
        {words.lead}
        {tail && <span className="i3">{words.lead ? ` · ${tail}` : tail}</span>}
      </span>
    );
  }
  return (
    <span className="jw">
      {words.lead && <span className="nw">{words.lead}</span>}
      <span className="mono cut">{words.code}</span>
      {tail && <span className="i3 nw">{`· ${tail}`}</span>}
    </span>
  );
}
