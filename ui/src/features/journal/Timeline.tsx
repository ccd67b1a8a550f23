import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import type { RunFeed } from "@/api/useRunFeed";
import { StatusIcon } from "@/design/status";
import { useMedia } from "@/design/useMedia";
import { useNow } from "@/design/useNow";
import { isOpen, type RunFold } from "@/rules/fold";
import { taskLook } from "@/rules/status";
import { axisMark, axisStep, duration, micros } from "@/rules/time";
import { type Lane, lanes, type Scale, timeScale } from "@/rules/timeline";

type Props = { feed: RunFeed; fold: RunFold; selected: string | null; onSelect: (node: string | null) => void };

const percent = (share: number): string => `${(share * 100).toFixed(3)}%`;
/** The right of the axis stays free for the words of the last bars. */
const DRAWN = 0.86;
const [ROW, STEP_ROW, AXIS] = [34, 24, 24];

export function Timeline({ feed, fold, selected, onSelect }: Props) {
  const { events } = feed;
  const [unfolded, setUnfolded] = useState<ReadonlySet<number>>(new Set());
  const most = useMedia("(max-width: 640px)") ? 3 : 9;
  const over = fold.ended !== null;
  const now = useNow(over ? 3_600_000 : 200);
  const all = useMemo(() => lanes(events, fold), [events, fold]);
  const start = fold.startedAt ? micros(fold.startedAt) : (all[0]?.from ?? 0);
  const end = fold.finishedAt ? micros(fold.finishedAt) : Math.max(now * 1000, start + 1);
  const scale = useMemo(() => timeScale(all, start, end, unfolded), [all, start, end, unfolded]);
  const scroller = useRef<HTMLElement>(null);
  const rows = useMemo(() => rowsOf(all, selected), [all, selected]);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: (index) => (rows[index]?.step ? STEP_ROW : ROW),
    getItemKey: (index) => rows[index]?.key ?? index,
    scrollMargin: AXIS,
    overscan: 8,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: which rows are steps changes their heights.
  useEffect(() => virtual.measure(), [rows.length, selected]);
  const open = !over && all.some((lane) => isOpen(lane.status));
  if (all.length === 0) return <p className="empty">No task has been scheduled yet.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach it.
    <section className="tl scroll" aria-label="Timeline" tabIndex={0} ref={scroller}>
      <Axis scale={scale} start={start} most={most} onUnfold={(from) => setUnfolded(new Set([...unfolded, from]))} />
      <div className="tw" style={{ minHeight: virtual.getTotalSize() }}>
        <Grid scale={scale} start={start} most={most} />
        {virtual.getVirtualItems().map((item) => {
          const row = rows[item.index];
          if (!row) return null;
          return (
            <div key={row.key} className="tr-at" style={{ transform: `translateY(${item.start - AXIS}px)` }}>
              {row.step ? (
                <StepRow step={row.step} scale={scale} />
              ) : (
                <LaneRow
                  lane={row.lane}
                  scale={scale}
                  end={end}
                  selected={row.lane.node === selected}
                  onSelect={onSelect}
                />
              )}
            </div>
          );
        })}
        {open && (
          <em style={{ left: `calc(176px + (100% - 176px) * ${scale.at(end) * DRAWN})` }}>
            <q>now</q>
          </em>
        )}
      </div>
    </section>
  );
}

type TimelineRow = { key: string; lane: Lane; step: Lane["steps"][number] | null };

/** What is drawn below one another: each task, and under those of the selected node their steps. */
function rowsOf(all: readonly Lane[], selected: string | null): TimelineRow[] {
  return all.flatMap((lane) => [
    { key: lane.path, lane, step: null },
    ...(lane.node === selected ? lane.steps.map((step, i) => ({ key: `${lane.path} ${i}`, lane, step })) : []),
  ]);
}

function marks(scale: Scale, start: number, most: number): { at: number; x: number }[] {
  const step = axisStep(scale.span, most);
  const found: { at: number; x: number }[] = [];
  const folds = scale.pieces.filter((piece) => piece.folded).map((piece) => (piece.x0 + piece.x1) / 2);
  for (const piece of scale.pieces) {
    if (piece.folded) continue;
    for (let at = Math.ceil((piece.from - start) / step) * step; at <= piece.to - start; at += step) {
      const x = scale.at(start + at);
      if (at > 0 && folds.some((fold) => Math.abs(fold - x) < 0.6 / most)) continue;
      if (found.length === 0 || x - (found.at(-1)?.x ?? 0) > 0.5 / most) found.push({ at, x });
    }
  }
  return found;
}

function Axis({
  scale,
  start,
  most,
  onUnfold,
}: {
  scale: Scale;
  start: number;
  most: number;
  onUnfold: (from: number) => void;
}) {
  return (
    <div className="ax">
      {marks(scale, start, most).map(({ at, x }) => (
        <span key={at} style={{ left: percent(x * DRAWN) }}>
          {axisMark(at)}
        </span>
      ))}
      {scale.pieces
        .filter((piece) => piece.folded)
        .map((piece) => (
          <button
            type="button"
            key={piece.from}
            style={{ left: percent(((piece.x0 + piece.x1) / 2) * DRAWN) }}
            onClick={() => onUnfold(piece.from)}
            title="Unfold this wait"
          >
            {duration(piece.to - piece.from)} folded
          </button>
        ))}
    </div>
  );
}

function Grid({ scale, start, most }: { scale: Scale; start: number; most: number }) {
  return marks(scale, start, most).map(({ at, x }) => (
    <u key={at} style={{ left: `calc(176px + (100% - 176px) * ${x * DRAWN})` }} />
  ));
}

function LaneRow({
  lane,
  scale,
  end,
  selected,
  onSelect,
}: {
  lane: Lane;
  scale: Scale;
  end: number;
  selected: boolean;
  onSelect: (node: string | null) => void;
}) {
  const look = taskLook(lane.status);
  const last = [...lane.segments, ...lane.items.flat()].reduce(
    (far, one) => Math.max(far, scale.at(one.to ?? end)),
    scale.at(lane.from),
  );
  return (
    <>
      <button type="button" className={selected ? "tr sel" : "tr"} onClick={() => onSelect(lane.node)}>
        <span className="tn">
          <StatusIcon shape={look.shape} size={14} label={look.word} />
          <span className="cut m">{lane.path}</span>
        </span>
        <span className="tk">
          <ItemBars lane={lane} scale={scale} end={end} />
          {lane.segments.map((one) => {
            const [x0, x1] = [scale.at(one.from), scale.at(one.to ?? end)];
            return (
              <i
                key={`${one.kind}${one.from}`}
                className={`tb ${one.kind}${one.kind === "wait" ? " hatch-wait" : ""}${one.to === null && one.kind === "work" ? " now" : ""}`}
                style={{ left: percent(x0 * DRAWN), width: `max(3px, ${percent((x1 - x0) * DRAWN)})` }}
                title={`${one.kind} ${duration((one.to ?? end) - one.from)}`}
              />
            );
          })}
          {scale.pieces
            .filter(
              (piece) =>
                piece.folded &&
                lane.segments.some(
                  (one) => one.kind === "wait" && one.from <= piece.from && (one.to ?? end) >= piece.to,
                ),
            )
            .map((piece) => (
              <i
                key={`fold${piece.from}`}
                className="brk"
                style={{ left: percent(((piece.x0 + piece.x1) / 2) * DRAWN) }}
              />
            ))}
          {lane.waits && (
            <span
              className="tt over"
              style={{ left: `calc(${percent(scale.at(lane.segments.at(-1)?.from ?? lane.from) * DRAWN)} + 8px)` }}
            >
              {lane.waits}
            </span>
          )}
          <span className="tt" style={{ left: `calc(${percent(last * DRAWN)} + 8px)` }}>
            {lane.words}
          </span>
        </span>
      </button>
    </>
  );
}

function StepRow({ step, scale }: { step: Lane["steps"][number]; scale: Scale }) {
  return (
    <div className="tr sb">
      <span className="tn">
        <span className="cut i2">{step.name}</span>
      </span>
      <span className="tk">
        <i
          className={`tb ${step.failed ? "failed" : "work"}`}
          style={{
            left: percent(scale.at(step.from) * DRAWN),
            width: `max(3px, ${percent((scale.at(step.to) - scale.at(step.from)) * DRAWN)})`,
          }}
        />
        <span className="tt" style={{ left: `calc(${percent(scale.at(step.to) * DRAWN)} + 8px)` }}>
          {duration(step.to - step.from)}
        </span>
      </span>
    </div>
  );
}

/** Items at once, as thin parallel bars. */
function ItemBars({ lane, scale, end }: { lane: Lane; scale: Scale; end: number }) {
  const high = Math.max(2, Math.min(5, Math.floor(22 / Math.max(1, lane.items.length)) - 1));
  const top = (34 - lane.items.length * (high + 1)) / 2;
  return lane.items.map((bars, row) =>
    bars.map((one) => {
      const [x0, x1] = [scale.at(one.from), scale.at(one.to ?? end)];
      return (
        <i
          key={`${row} ${one.from}`}
          className={`tb thin ${one.kind}${one.kind === "wait" ? " hatch-wait" : ""}${one.to === null ? " now" : ""}`}
          style={{
            left: percent(x0 * DRAWN),
            width: `max(2px, ${percent((x1 - x0) * DRAWN)})`,
            top: top + row * (high + 1),
            height: high,
          }}
        />
      );
    }),
  );
}
