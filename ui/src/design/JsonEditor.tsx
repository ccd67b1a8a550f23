/** A JSON value to edit in place: coloured, with brackets that match; what is wrong with it stands below. */
import { lazy, Suspense, useId } from "react";
import { readJson } from "./JsonField";

const Code = lazy(() => import("./JsonCode"));

export function JsonEditor({
  label,
  value,
  onChange,
  hint,
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  hint?: string;
}) {
  const id = useId();
  const read = readJson(value);
  return (
    <>
      <div className="fl">
        {label}
        <span className="i3">JSON</span>
      </div>
      <div className={read.ok ? "json-edit" : "json-edit bad"}>
        <Suspense fallback={<pre className="mono t12">{value}</pre>}>
          <Code label={label} value={value} onChange={onChange} describedBy={id} />
        </Suspense>
      </div>
      <p id={id} className={read.ok ? "hint" : "hint bad"}>
        {read.ok ? hint : read.why}
      </p>
    </>
  );
}
