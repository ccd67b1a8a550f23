import { useQuery } from "@tanstack/react-query";
import { outboxQuery } from "@/api/queries";
import { Problem } from "@/app/errors";
import { Icon } from "@/design/icons";
import { clock, exact } from "@/rules/time";

/** Messages that nodes of this run sent: they lie here, in the local outbox, and went nowhere else. */
export function Outbox({ run }: { run: string }) {
  const outbox = useQuery(outboxQuery(run));
  if (outbox.error) return <Problem error={outbox.error} onRetry={() => void outbox.refetch()} />;
  const mine = (outbox.data ?? []).filter((item) => item.run === run);
  if (outbox.isSuccess && mine.length === 0) {
    return (
      <p className="empty">
        This run has sent nothing. Mails of the nodes land here, in a local outbox, and go nowhere else.
      </p>
    );
  }
  return (
    <ul className="mails scroll">
      {mine.map((item) => (
        <li key={item.id} className="mail">
          <span className="tile">
            <Icon name="mail" />
          </span>
          <div className="sp">
            <div className="row">
              <span className="b cut">{item.subject}</span>
              <span className="sp" />
              <span className="t12 i3 num nw" title={exact(item.at)}>
                {clock(item.at)}
              </span>
            </div>
            <div className="t12 i2">
              to <span className="m">{item.to}</span> · from {item.node}
            </div>
            <p className="mail-body t12">{item.body}</p>
          </div>
        </li>
      ))}
    </ul>
  );
}
