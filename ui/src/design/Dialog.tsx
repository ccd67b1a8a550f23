import { type ReactNode, useEffect, useId, useRef } from "react";
import { Icon } from "./icons";

type Props = {
  opened: boolean;
  onClose: () => void;
  title: string;
  width?: number;
  children: ReactNode;
  footer?: ReactNode;
};

/** A modal dialog on the browser's own element: focus stays inside, Escape leaves, the page behind is inert. */
export function Dialog({ opened, onClose, title, width = 480, children, footer }: Props) {
  const ref = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    if (opened && !dialog.open) {
      dialog.showModal();
      // The first field is what a person came for; the browser would take the button that closes.
      dialog.querySelector<HTMLElement>(".dialog-body :is(input, textarea, select)")?.focus();
    }
    if (!opened && dialog.open) dialog.close();
  }, [opened]);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a modal dialog; the click is only for the backdrop.
    <dialog
      ref={ref}
      className="dialog"
      style={{ width }}
      aria-labelledby={titleId}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === ref.current) onClose();
      }}
    >
      {opened && (
        <div className="dialog-in">
          <header className="dialog-head">
            <h2 id={titleId}>{title}</h2>
            <button type="button" className="btn ghost icon sm" onClick={onClose} aria-label="Close">
              <Icon name="x" size={14} />
            </button>
          </header>
          <div className="dialog-body">{children}</div>
          {footer && <footer className="dialog-foot">{footer}</footer>}
        </div>
      )}
    </dialog>
  );
}
