import { HighlightStyle } from "@codemirror/language";
import { tags } from "@lezer/highlight";

/** The colours of JSON and YAML, in the look's own tokens. */
export const codeColours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--c-key)" },
  { tag: [tags.string, tags.content, tags.attributeValue], color: "var(--c-str)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--c-num)" },
  { tag: [tags.punctuation, tags.separator, tags.brace, tags.squareBracket], color: "var(--c-punc)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--ink-3)" },
]);
