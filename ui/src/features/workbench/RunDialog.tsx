/** Start a run: a form from the input schema, or plain JSON where there is none. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useId, useMemo, useState } from "react";
import { api } from "@/api/calls";
import { ApiProblem } from "@/api/client";
import { classesQuery, versionQuery, workflowQuery } from "@/api/queries";
import type { Json, JsonObject, NodeClass, Workflow } from "@/api/types";
import { Problem } from "@/app/errors";
import { Dialog } from "@/design/Dialog";
import { Icon } from "@/design/icons";
import { JsonField, readJson } from "@/design/JsonField";
import { suggestedInputs } from "@/rules/document";

const SchemaForm = lazy(() => import("./SchemaForm"));

type Props = {
  name: string;
  version?: number;
  input?: Json | undefined;
  onClose: () => void;
  onStarted?: (run: string) => void;
};

export function RunDialog({ name, version, input, onClose, onStarted }: Props) {
  const latest = useQuery({ ...workflowQuery(name), enabled: version === undefined });
  const pinned = useQuery({ ...versionQuery(name, version ?? 0), enabled: version !== undefined });
  const answer = version === undefined ? latest : pinned;
  const classes = useQuery(classesQuery).data ?? [];
  if (!answer.data) {
    return (
      <Dialog opened onClose={onClose} title={`Run ${name}`}>
        {answer.error && <Problem error={answer.error} onRetry={() => void answer.refetch()} />}
      </Dialog>
    );
  }
  return <Form workflow={answer.data} classes={classes} given={input} onClose={onClose} onStarted={onStarted} />;
}

const isObject = (value: Json | undefined): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value);

function labelsOf(text: string): Record<string, string> | null {
  const labels: Record<string, string> = {};
  for (const part of text.split(",")) {
    if (part.trim() === "") continue;
    const colon = part.indexOf(":");
    if (colon <= 0) return null;
    labels[part.slice(0, colon).trim()] = part.slice(colon + 1).trim();
  }
  return labels;
}

function Form({
  workflow,
  classes,
  given,
  onClose,
  onStarted,
}: {
  workflow: Workflow;
  classes: readonly NodeClass[];
  given: Json | undefined;
  onClose: () => void;
  onStarted: ((run: string) => void) | undefined;
}) {
  const schema = isObject(workflow.document.input_schema) ? workflow.document.input_schema : null;
  const [asForm, setAsForm] = useState(schema !== null);
  const [text, setText] = useState(() => JSON.stringify(given ?? {}, null, 2));
  const [labels, setLabels] = useState("");
  const [key] = useState(() => crypto.randomUUID());
  const [formId, labelsId] = [useId(), useId()];
  const client = useQueryClient();
  const navigate = useNavigate();
  const parsed = readJson(text);
  const marked = labelsOf(labels);
  const suggestions = useMemo(() => suggestedInputs(workflow.document, classes), [workflow.document, classes]);
  const start = useMutation({
    mutationFn: (input: Json) =>
      api.startRun(
        workflow.name,
        { input, version: workflow.version, ...(marked && Object.keys(marked).length > 0 && { labels: marked }) },
        key,
      ),
    onSuccess: (run) => {
      void client.invalidateQueries({ queryKey: ["runs"] });
      void client.invalidateQueries({ queryKey: ["workflows"] });
      onClose();
      if (onStarted) onStarted(run.id);
      else void navigate({ to: "/workflows/$name", params: { name: workflow.name }, search: { run: run.id } });
    },
  });
  const send = () => {
    if (parsed.ok && marked && !start.isPending) start.mutate(parsed.value);
  };
  const refused = start.error instanceof ApiProblem ? (start.error.problem?.errors ?? []) : [];
  return (
    <Dialog
      opened
      onClose={onClose}
      title={`Run ${workflow.name}`}
      width={520}
      footer={
        <>
          <span className="t12 i3">version {workflow.version}</span>
          <span className="sp" />
          <button type="button" className="btn" onClick={onClose}>
            Not now
          </button>
          <button type="submit" form={formId} className="btn pri" disabled={!parsed.ok || !marked || start.isPending}>
            <Icon name="play" size={14} />
            {`Run version ${workflow.version}`}
          </button>
        </>
      }
    >
      {schema && (
        <fieldset className="seg run-as">
          <legend className="hidden-text">Write the input as</legend>
          {[true, false].map((form) => (
            <button
              type="button"
              key={String(form)}
              className={form === asForm ? "on" : ""}
              aria-pressed={form === asForm}
              onClick={() => setAsForm(form)}
            >
              {form ? "Form" : "JSON"}
            </button>
          ))}
        </fieldset>
      )}
      {schema && asForm ? (
        <Suspense fallback={<div className="skeleton late" />}>
          <SchemaForm
            id={formId}
            schema={schema}
            value={parsed.ok ? parsed.value : {}}
            onChange={(value) => setText(JSON.stringify(value ?? null, null, 2))}
            onSubmit={(value) => {
              if (marked) start.mutate(value);
            }}
          />
        </Suspense>
      ) : (
        <form
          id={formId}
          onSubmit={(event) => {
            event.preventDefault();
            send();
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
          }}
        >
          <JsonField
            label="Input"
            value={text}
            onChange={setText}
            rows={7}
            hint={schema ? "" : "This workflow asks for no certain input."}
          />
        </form>
      )}
      {!asForm && suggestions.length > 0 && (
        <div className="suggest t12">
          {suggestions.map(({ name, values }) => (
            <div className="row" key={name}>
              <span className="mono i2">{name}</span>
              {values.map((value) => (
                <button
                  type="button"
                  key={String(value)}
                  className="btn xs"
                  disabled={!parsed.ok}
                  onClick={() =>
                    setText(
                      JSON.stringify(
                        { ...(parsed.ok && isObject(parsed.value) ? parsed.value : {}), [name]: value },
                        null,
                        2,
                      ),
                    )
                  }
                >
                  {String(value)}
                </button>
              ))}
            </div>
          ))}
        </div>
      )}
      <div className="field spaced">
        <label className="fl" htmlFor={labelsId}>
          Labels <span className="i3">optional</span>
        </label>
        <input
          id={labelsId}
          className="in"
          value={labels}
          onChange={(event) => setLabels(event.target.value)}
          placeholder="env: test, team: support"
          aria-invalid={marked === null}
        />
        {marked === null && <p className="hint bad">A label is written as key: value, several with commas.</p>}
      </div>
      {start.error && (
        <div className="refused" role="alert">
          <p className="hint bad">{start.error.message}</p>
          {refused.map((fault) => (
            <p className="t12" key={`${fault.pointer}${fault.message}`}>
              <span className="mono">{fault.pointer}</span> <span className="i2">{fault.message}</span>
            </p>
          ))}
        </div>
      )}
    </Dialog>
  );
}
