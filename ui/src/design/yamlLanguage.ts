/** YAML as far as its colours go; the server reads what it means. */
import { StreamLanguage } from "@codemirror/language";

export const yamlLanguage = StreamLanguage.define<{ value: boolean }>({
  name: "yaml",
  startState: () => ({ value: false }),
  token(stream, state) {
    if (stream.sol()) state.value = false;
    if (stream.eatSpace()) return null;
    if (stream.match(/^#.*/)) return "comment";
    if (!state.value && stream.match(/^("(?:[^"\\]|\\.)*"|'[^']*'|[^\s#:'"[\]{},-][^#:]*?)(?=\s*:(\s|$))/))
      return "propertyName";
    if (stream.match(/^:(?=\s|$)/)) {
      state.value = true;
      return "punctuation";
    }
    if (stream.match(/^-(?=\s|$)/) || stream.match(/^[[\]{},|>]/)) return "punctuation";
    if (stream.match(/^("(?:[^"\\]|\\.)*"|'[^']*')/)) return "string";
    if (stream.match(/^(true|false|null|-?\d+(\.\d+)?)(?=\s|,|\]|\}|$)/)) return "number";
    if (stream.match(/^[^\s#,\]}][^#,\]}]*/)) return "string";
    stream.next();
    return null;
  },
  languageData: { commentTokens: { line: "#" } },
});
