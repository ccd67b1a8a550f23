/** Words of the server, in which `names` stand between backticks. */
export function Prose({ text }: { text: string }) {
  const parts = text.split("`");
  // An odd number of backticks is no pair: then they are what they are.
  if (parts.length % 2 === 0) return text;
  return parts.map((part, i) =>
    i % 2 === 1 ? (
      <code key={i} className="mono">
        {part}
      </code>
    ) : (
      part
    ),
  );
}
