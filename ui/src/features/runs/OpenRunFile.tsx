/** Open a run that was downloaded, here or elsewhere: it is looked at and forked, and never goes on by itself. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useRef } from "react";
import { api } from "@/api/calls";
import { Icon } from "@/design/icons";
import { say, sayProblem } from "@/design/toasts";
import { shortId } from "@/rules/status";

export function OpenRunFile() {
  const input = useRef<HTMLInputElement>(null);
  const client = useQueryClient();
  const navigate = useNavigate();
  const open = useMutation({
    mutationFn: api.importRun,
    onSuccess: ({ run, created }) => {
      void client.invalidateQueries({ queryKey: ["runs"] });
      if (!created) say(`This file had been opened before, as run ${shortId(run.id)}`);
      void navigate({ to: "/runs/$id", params: { id: run.id } });
    },
    onError: sayProblem,
  });
  return (
    <>
      <button type="button" className="btn" disabled={open.isPending} onClick={() => input.current?.click()}>
        <Icon name="upload" size={14} />
        {open.isPending ? "Reading the file" : "Open run file…"}
      </button>
      <input
        ref={input}
        type="file"
        hidden
        accept=".gz,application/gzip"
        onChange={(event) => {
          const file = event.target.files?.[0];
          event.target.value = "";
          if (file) open.mutate(file);
        }}
      />
    </>
  );
}
