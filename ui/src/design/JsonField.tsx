import { useId } from "react";
import type { Json } from "@/api/types";

export type Read = { ok: true; value: Json } | { ok: false; why: string };

export function readJson(text: string): Read {
  try {
    return { ok: true, value: JSON.parse(text) as Json };
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : "This is not JSON." };
  }
}

/** A field for any JSON value, with what is wrong said below it as one types. */
export function JsonField({
  label,
  value,
  onChange,
  rows,
  hint,
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  rows: number;
  hint?: string;
}) {
  const [id, hintId] = [useId(), useId()];
  const read = readJson(value);
  return (
    <>
      <label className="fl" htmlFor={id}>
        {label}
        <span className="i3">JSON</span>
      </label>
      <textarea
        id={id}
        className="in code"
        rows={rows}
        spellCheck={false}
        value={value}
        aria-invalid={!read.ok}
        aria-describedby={hintId}
        onChange={(event) => onChange(event.target.value)}
      />
      <p id={hintId} className={read.ok ? "hint" : "hint bad"}>
        {read.ok ? hint : read.why}
      </p>
    </>
  );
}
