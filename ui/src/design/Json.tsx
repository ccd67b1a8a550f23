import { type ReactNode, useMemo, useState } from "react";
import type { Json } from "@/api/types";
import { Icon } from "./icons";
import { say } from "./toasts";

const SHOWN_MAX = 20_000;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)|([{}[\],:])/g;

function coloured(text: string): ReactNode[] {
  const out: ReactNode[] = [];
  let last = 0;
  for (const match of text.matchAll(TOKEN)) {
    const at = match.index;
    if (at > last) out.push(text.slice(last, at));
    const [whole, string, colon, value] = match;
    if (string !== undefined) {
      out.push(
        <span key={at} className={colon ? "k" : "s"}>
          {string}
        </span>,
      );
      if (colon) out.push(colon);
    } else {
      out.push(
        <span key={at} className={value !== undefined ? "n" : "p"}>
          {whole}
        </span>,
      );
    }
    last = at + whole.length;
  }
  out.push(text.slice(last));
  return out;
}

/** A value as it is, readable, to copy whole; long ones are cut on the screen only. */
export function JsonView({ value, label }: { value: Json | undefined; label: string }) {
  const [all, setAll] = useState(false);
  const text = useMemo(() => (value === undefined ? "" : JSON.stringify(value, null, 2)), [value]);
  const cut = !all && text.length > SHOWN_MAX;
  const body = useMemo(() => coloured(cut ? text.slice(0, SHOWN_MAX) : text), [text, cut]);
  return (
    <div className="json-box">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach it. */}
      <section className="json" tabIndex={0} aria-label={label}>
        <pre>{body}</pre>
      </section>
      <div className="json-acts">
        {cut && (
          <button type="button" className="btn xs" onClick={() => setAll(true)}>
            Show all {text.length.toLocaleString("en")} characters
          </button>
        )}
        <CopyButton text={text} label={`Copy ${label.toLowerCase()}`} />
      </div>
    </div>
  );
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  return (
    <button
      type="button"
      className="btn ghost icon xs"
      aria-label={label}
      title={label}
      onClick={() => {
        navigator.clipboard.writeText(text).then(
          () => say("Copied"),
          () => say("The browser did not allow copying", { bad: true }),
        );
      }}
    >
      <Icon name="copy" size={14} />
    </button>
  );
}
