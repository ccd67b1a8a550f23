/** The items of a `for_each`: how they stand, and each of them, read as one scrolls or asks for a number. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { api } from "@/api/calls";
import type { ItemsSummary, Task, TaskStatus } from "@/api/types";
import { Problem } from "@/app/errors";
import { StatusIcon } from "@/design/status";
import { itemsDone } from "@/rules/fold";
import { taskLook } from "@/rules/status";
import { duration } from "@/rules/time";

const PAGE = 200;
const ROW = 28;
type Which = "all" | "failed" | "open";
const OPEN: TaskStatus[] = ["ready", "running", "waiting", "in_doubt"];
const statusesOf = (which: Which): TaskStatus[] | null =>
  which === "all" ? null : which === "failed" ? ["failed"] : OPEN;

type Props = { runId: string; path: string; items: ItemsSummary; onOpen: (path: string) => void };

export function ItemsView({ runId, path, items, onOpen }: Props) {
  const [which, setWhich] = useState<Which>(items.failed > 0 ? "failed" : "all");
  const [from, setFrom] = useState(0);
  const [wanted, setWanted] = useState("");
  const statuses = statusesOf(which);
  const list = useInfiniteQuery({
    queryKey: ["runs", "items", runId, path, which, from],
    queryFn: ({ pageParam }) =>
      api.listTasks(runId, { of: path, ...(statuses && { status: statuses }) }, pageParam, PAGE),
    initialPageParam: from > 0 && which === "all" ? String(from) : (null as string | null),
    getNextPageParam: (page) => page.next,
    placeholderData: (before) => before,
  });
  const rows = useMemo(() => list.data?.pages.flatMap((page) => page.items) ?? [], [list.data]);
  const open = items.ready + items.running + items.waiting + items.in_doubt;
  const counts: Record<Which, number> = { all: items.count, failed: items.failed, open };
  return (
    <div className="items">
      <Summary items={items} />
      <div className="row items-bar">
        <fieldset className="seg">
          <legend className="hidden-text">Which items</legend>
          {(["all", "failed", "open"] as const).map((one) => (
            <button
              type="button"
              key={one}
              className={one === which ? "on" : ""}
              aria-pressed={one === which}
              onClick={() => {
                setWhich(one);
                setFrom(0);
              }}
            >
              {one === "all" ? "All" : one === "failed" ? "Failed" : "Open"}{" "}
              <span className={one === "failed" && items.failed > 0 ? "num c-fail" : "num i3"}>
                {counts[one].toLocaleString("en")}
              </span>
            </button>
          ))}
        </fieldset>
        <span className="sp" />
        {which === "all" && items.scheduled > PAGE && (
          <form
            className="row"
            onSubmit={(event) => {
              event.preventDefault();
              const item = Number(wanted);
              if (Number.isInteger(item) && item >= 0) setFrom(Math.min(item, Math.max(0, items.scheduled - 1)));
            }}
          >
            <input
              className="in num goto"
              inputMode="numeric"
              value={wanted}
              placeholder="Item"
              aria-label={`Go to an item, 0 to ${items.scheduled - 1}`}
              onChange={(event) => setWanted(event.target.value)}
            />
            <button type="submit" className="btn xs">
              Go
            </button>
          </form>
        )}
      </div>
      {list.error && rows.length === 0 ? (
        <div className="in-panel">
          <Problem error={list.error} onRetry={() => void list.refetch()} />
        </div>
      ) : (
        <Rows
          key={`${which}${from}`}
          rows={rows}
          empty={list.isSuccess ? emptyWords(which, items) : ""}
          more={list.hasNextPage && !list.isFetchingNextPage}
          onMore={() => void list.fetchNextPage()}
          onOpen={onOpen}
        />
      )}
    </div>
  );
}

function emptyWords(which: Which, items: ItemsSummary): string {
  if (which === "failed") return "No item failed.";
  if (which === "open") return "No item is open.";
  return items.count === 0 ? "The list was empty." : "No item has been scheduled yet.";
}

/** The bar of the whole list: done, failed, at work; what is left is empty. */
function Summary({ items }: { items: ItemsSummary }) {
  const share = (count: number) => `${((count / Math.max(1, items.count)) * 100).toFixed(2)}%`;
  const parts = [
    `${itemsDone(items).toLocaleString("en")} of ${items.count.toLocaleString("en")} items done`,
    items.failed > 0 && `${items.failed.toLocaleString("en")} failed`,
    items.running > 0 && `${items.running} running`,
    items.waiting > 0 && `${items.waiting} waiting`,
    items.in_doubt > 0 && `${items.in_doubt} in doubt`,
    items.cancelled > 0 && `${items.cancelled.toLocaleString("en")} withdrawn`,
  ].filter(Boolean);
  return (
    <section className="sec items-sum">
      <div className="items-line" aria-hidden="true">
        <i className="done" style={{ width: share(items.completed + items.skipped) }} />
        <i className="bad" style={{ width: share(items.failed) }} />
        <i className="doubt" style={{ width: share(items.in_doubt) }} />
        <i className="wait" style={{ width: share(items.waiting) }} />
        <i className="now" style={{ width: share(items.running + items.ready) }} />
      </div>
      <p className="t12 i2 num">{parts.join(" · ")}</p>
    </section>
  );
}

function Rows({
  rows,
  empty,
  more,
  onMore,
  onOpen,
}: {
  rows: Task[];
  empty: string;
  more: boolean;
  onMore: () => void;
  onOpen: (path: string) => void;
}) {
  const scroller = useRef<HTMLUListElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
  });
  const shown = virtual.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && rows.length > 0 && last >= rows.length - 30) onMore();
  }, [more, last, rows.length, onMore]);
  if (rows.length === 0) return <p className="empty">{empty}</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach it.
    <ul className="item-rows" ref={scroller} aria-label="Items" tabIndex={0}>
      <li aria-hidden="true" style={{ height: virtual.getTotalSize() }} />
      {shown.map((one) => {
        const task = rows[one.index];
        return task ? <Row key={task.path} task={task} top={one.start} onOpen={onOpen} /> : null;
      })}
    </ul>
  );
}

function Row({ task, top, onOpen }: { task: Task; top: number; onOpen: (path: string) => void }) {
  const look = taskLook(task.status);
  const said = task.error?.message ?? task.waiting_for?.sentence ?? task.reason ?? "";
  return (
    <li className="item-row" style={{ transform: `translateY(${top}px)` }}>
      <button type="button" onClick={() => onOpen(task.path)} title={said || undefined}>
        <StatusIcon shape={look.shape} size={14} label={look.word} />
        <span className="num b item-no">{task.item?.toLocaleString("en")}</span>
        <span className={`cut sp t12 ${task.status === "failed" ? "c-fail" : "i2"}`}>
          {task.status === "completed" ? "" : said || look.word.toLowerCase()}
        </span>
        {task.attempts.length > 1 && <span className="t11 i3 num nw">{`${task.attempts.length} tries`}</span>}
        <span className="t12 i3 num nw">{duration(task.duration_us)}</span>
      </button>
    </li>
  );
}
