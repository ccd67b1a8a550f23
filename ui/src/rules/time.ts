/** Times and durations as people read them. Clock times are local; tooltips carry the full moment. */

const two = (n: number): string => String(n).padStart(2, "0");

/** 3 ms · 176 ms · 4.2 s · 2 min 29 s · 11 min · 3 h 5 min · 2 d 4 h */
export function duration(us: number | null | undefined): string {
  if (us === null || us === undefined || !Number.isFinite(us)) return "";
  const ms = Math.max(0, us) / 1000;
  if (ms < 1) return "< 1 ms";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const seconds = Math.round(s);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** A running clock: 00:04.2, 12:40, 3:12:40. */
export function stopwatch(us: number): string {
  const s = Math.max(0, us) / 1e6;
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor((s % 3600) / 60);
  const seconds = Math.floor(s % 60);
  if (hours > 0) return `${hours}:${two(minutes)}:${two(seconds)}`;
  const tenth = minutes === 0 ? `.${Math.floor((s * 10) % 10)}` : "";
  return `${two(minutes)}:${two(seconds)}${tenth}`;
}

export const micros = (at: string): number => {
  const fraction = /\.(\d{1,6})/.exec(at)?.[1] ?? "";
  // Date keeps milliseconds; the rest of the fraction is added by hand.
  return Date.parse(at) * 1000 + (fraction.length > 3 ? Number(fraction.slice(3).padEnd(3, "0")) : 0);
};

export function clock(at: string | null | undefined): string {
  if (!at) return "";
  const date = new Date(at);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Today by its clock, earlier days with their date. */
export function moment(at: string | null | undefined, now: Date = new Date()): string {
  if (!at) return "";
  const date = new Date(at);
  if (date.toDateString() === now.toDateString()) return clock(at);
  const day = `${date.getDate()} ${["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][date.getMonth()]}`;
  const year = date.getFullYear() === now.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${day}${year} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/**
 * A sentence of the server with its UTC times in local time, as all other times of the page. Only a time that is one of
 * `moments` is changed: without its moment a clock time has no day, so it stays as the server said it.
 */
export function localTimes(
  sentence: string,
  moments: readonly (string | null | undefined)[],
  now: Date = new Date(),
): string {
  return sentence.replace(/(?:(\d{4}-\d\d-\d\d) )?\b(\d\d:\d\d(:\d\d)?) UTC\b/g, (said, day, time, seconds) => {
    const at = moments.find((one) => one?.startsWith(`T${time}`, 10) && (day === undefined || one.startsWith(day)));
    if (!at) return said;
    const local = moment(at, now);
    return seconds === undefined && /^\d\d:\d\d:\d\d$/.test(local) ? local.slice(0, 5) : local;
  });
}

/** The moment in full, for tooltips. */
export const exact = (at: string | null | undefined): string => (at ? at.replace("T", " ").replace("Z", " UTC") : "");

/** +0.187 s: when an event happened, counted from the start of its run. */
export function offset(at: string, start: string): string {
  const us = micros(at) - micros(start);
  const sign = us < 0 ? "−" : "+";
  const s = Math.abs(us) / 1e6;
  if (s < 100) return `${sign}${s.toFixed(3)} s`;
  if (s < 6000) return `${sign}${Math.floor(s / 60)}:${two(Math.floor(s % 60))} min`;
  return `${sign}${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))} h`;
}

/** Round numbers for a time axis: the step that gives at most `most` lines, in microseconds. */
export function axisStep(spanUs: number, most: number): number {
  const steps = [
    1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 3e7, 6e7, 1.2e8, 3e8, 6e8, 1.2e9, 1.8e9,
    3.6e9, 7.2e9, 1.08e10, 2.16e10, 4.32e10, 8.64e10, 1.728e11, 6.048e11,
  ];
  return steps.find((step) => spanUs / step <= most) ?? 6.048e11 * Math.ceil(spanUs / 6.048e11 / most);
}

/** The words of an axis mark: "0 s", "250 ms", "2 s", "5 min". */
export function axisMark(us: number): string {
  if (us === 0) return "0 s";
  if (us < 1e6) return `${Math.round(us / 1e3)} ms`;
  if (us < 6e7) return `${+(us / 1e6).toFixed(1)} s`;
  return duration(us);
}

/** The length of a bar on a log scale, 0 to 1: 10 ms is barely there, 6 h fill it. */
export function logLength(us: number): number {
  const low = Math.log10(1e4);
  const high = Math.log10(2.16e10);
  return Math.min(1, Math.max(0.02, (Math.log10(Math.max(us, 1)) - low) / (high - low)));
}
