import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { workflowsQuery } from "@/api/queries";
import { Dialog } from "@/design/Dialog";
import { Icon } from "@/design/icons";
import { RunDialog } from "@/features/workbench/RunDialog";

/** The one primary button of the runs page: choose a workflow, then its input. */
export function RunAWorkflow() {
  const [open, setOpen] = useState(false);
  const [name, setName] = useState<string | null>(null);
  const workflows = useQuery({ ...workflowsQuery(), enabled: open });
  const close = () => {
    setOpen(false);
    setName(null);
  };
  const start = () => setOpen(true);
  return (
    <>
      <button type="button" className="btn pri" onClick={start}>
        <Icon name="play" size={14} />
        Run a workflow…
      </button>
      <Dialog opened={open && name === null} onClose={close} title="Which workflow?">
        <ul className="choose">
          {(workflows.data ?? []).map((one) => (
            <li key={one.name}>
              <button type="button" onClick={() => setName(one.name)}>
                <span className="m">{one.name}</span>
                <span className="i3 t12"> version {one.version}</span>
                {one.description && <span className="t12 i2 choose-what">{one.description}</span>}
              </button>
            </li>
          ))}
        </ul>
        {workflows.isSuccess && workflows.data.length === 0 && (
          <p className="i2">
            There is no workflow yet. <Link to="/new">Write the first one</Link>.
          </p>
        )}
      </Dialog>
      {name !== null && <RunDialog name={name} onClose={close} />}
    </>
  );
}
