import { Dialog } from "@/design/Dialog";

const shortcuts: [string[], string][] = [
  [["Ctrl", "K"], "search, or run a command"],
  [["/"], "search in a list"],
  [["J"], "next row"],
  [["K"], "row before"],
  [["Enter"], "open the row"],
  [["Ctrl", "Enter"], "send the form, run the workflow"],
  [["Ctrl", "S"], "save the document as a version"],
  [["Esc"], "close the panel or dialog"],
  [["?"], "this list"],
];

export function ShortcutsDialog({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  return (
    <Dialog opened={opened} onClose={onClose} title="Keyboard" width={360}>
      <dl className="shortcuts">
        {shortcuts.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p className="hint">The graph is drawn with React Flow and laid out by the Eclipse Layout Kernel.</p>
    </Dialog>
  );
}
