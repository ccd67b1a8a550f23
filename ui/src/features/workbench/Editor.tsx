/** The JSON editor: completion and hover from the server's schemas, problems below their lines with a button that mends them. */
import {
  autocompletion,
  type Completion,
  type CompletionContext,
  closeBrackets,
  closeBracketsKeymap,
} from "@codemirror/autocomplete";
import {
  defaultKeymap,
  history,
  historyKeymap,
  indentWithTab,
  isolateHistory,
  redo,
  redoDepth,
  undo,
  undoDepth,
} from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { bracketMatching, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import {
  Decoration,
  drawSelection,
  EditorView,
  hoverTooltip,
  keymap,
  lineNumbers,
  MatchDecorator,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import { type Ref, useEffect, useImperativeHandle, useRef } from "react";
import { codeColours } from "@/design/codeColours";
import { yamlLanguage } from "@/design/yamlLanguage";
import { complete, hoverAt, type Known, type Problem } from "@/rules/document";
import type { Syntax } from "@/rules/yaml";
import { problemsExtension, showProblems } from "./problems";
import "./editor.css";

export type EditorHandle = {
  undo: () => void;
  redo: () => void;
  replaceAll: (text: string) => void;
  goTo: (offset: number) => void;
};

type Props = {
  initial: string;
  syntax: Syntax;
  known: Known;
  problems: readonly Problem[];
  onChange: (text: string) => void;
  onHistory: (can: { undo: boolean; redo: boolean }) => void;
  handle: Ref<EditorHandle>;
};

const expressions = new MatchDecorator({
  regexp: /\{\{.*?\}\}/g,
  decoration: Decoration.mark({ class: "tok" }),
});
const markExpressions = ViewPlugin.fromClass(
  class {
    decorations;
    constructor(view: EditorView) {
      this.decorations = expressions.createDeco(view);
    }
    update(update: ViewUpdate) {
      this.decorations = expressions.updateDeco(update, this.decorations);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

function completions(known: () => Known) {
  return (context: CompletionContext) => {
    const text = context.state.doc.toString();
    const before = context.matchBefore(/["\w.{*-]+/);
    if (!context.explicit && !before) return null;
    const found = complete(text, context.pos, known());
    if (!found) return null;
    return {
      from: found.from,
      to: found.to,
      filter: true,
      options: found.options.map((option) => ({
        // CodeMirror compares labels with what stands between `from` and the cursor, quote included.
        label: option.kind === "expression" ? option.label : `"${option.label}"`,
        displayLabel: option.label,
        detail: option.detail,
        ...(option.info && { info: option.info }),
        apply: (view: EditorView, _chosen: Completion, from: number, to: number) => {
          // Inside fresh quotes or brackets goes the cursor, for what comes next.
          const inside = /(""|\{\}|\[\]),?$/.exec(option.apply);
          const anchor = from + (inside ? inside.index + 1 : option.apply.length);
          view.dispatch({
            changes: { from, to, insert: option.apply },
            selection: { anchor },
            userEvent: "input.complete",
          });
        },
        type: option.kind,
      })),
    };
  };
}

function hover(known: () => Known): Extension {
  return hoverTooltip((view, pos) => {
    const found = hoverAt(view.state.doc.toString(), pos, known());
    if (!found) return null;
    return {
      pos: found.from,
      end: found.to,
      above: true,
      create: () => {
        const dom = document.createElement("div");
        dom.className = "tip-doc";
        const title = document.createElement("b");
        title.textContent = found.title;
        dom.append(title);
        for (const tag of found.tags) {
          const one = document.createElement("span");
          one.className = "tag";
          one.textContent = tag;
          dom.append(one);
        }
        const text = document.createElement("p");
        text.textContent = found.text;
        dom.append(text);
        return { dom };
      },
    };
  });
}

/** What depends on how the document is written. */
const language = new Compartment();
const inSyntax = (syntax: Syntax, now: () => Known): Extension =>
  syntax === "yaml"
    ? [yamlLanguage, EditorView.contentAttributes.of({ "aria-label": "Workflow document, YAML" })]
    : [
        json(),
        autocompletion({ override: [completions(now)], icons: false, activateOnTyping: true }),
        hover(now),
        EditorView.contentAttributes.of({ "aria-label": "Workflow document, JSON" }),
      ];

export default function Editor({ initial, syntax, known, problems, onChange, onHistory, handle }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const latest = useRef({ known, onChange, onHistory });
  latest.current = { known, onChange, onHistory };
  // biome-ignore lint/correctness/useExhaustiveDependencies: the editor owns its text after it started; a new document remounts it.
  useEffect(() => {
    if (!host.current) return;
    const now = () => latest.current.known;
    const editor = new EditorView({
      parent: host.current,
      state: EditorState.create({
        doc: initial,
        extensions: [
          lineNumbers(),
          history(),
          drawSelection(),
          bracketMatching(),
          closeBrackets(),
          highlightSelectionMatches(),
          indentUnit.of("  "),
          EditorState.tabSize.of(2),
          language.of(inSyntax(syntax, now)),
          syntaxHighlighting(codeColours),
          markExpressions,
          problemsExtension(),
          keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, indentWithTab]),
          EditorView.contentAttributes.of({
            spellcheck: "false",
            tabindex: "0",
          }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) latest.current.onChange(update.state.doc.toString());
            if (update.docChanged) {
              latest.current.onHistory({ undo: undoDepth(update.state) > 0, redo: redoDepth(update.state) > 0 });
            }
          }),
        ],
      }),
    });
    view.current = editor;
    return () => editor.destroy();
  }, []);
  useEffect(() => {
    view.current?.dispatch({ effects: language.reconfigure(inSyntax(syntax, () => latest.current.known)) });
  }, [syntax]);
  useEffect(() => {
    view.current?.dispatch({ effects: showProblems.of(problems) });
  }, [problems]);
  useImperativeHandle(handle, () => ({
    undo: () => view.current && undo(view.current),
    redo: () => view.current && redo(view.current),
    replaceAll: (text) => {
      const editor = view.current;
      if (!editor) return;
      editor.dispatch({
        changes: { from: 0, to: editor.state.doc.length, insert: text },
        annotations: isolateHistory.of("full"),
      });
    },
    goTo: (offset) => {
      const editor = view.current;
      if (!editor) return;
      const at = Math.min(offset, editor.state.doc.length);
      editor.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
      editor.focus();
    },
  }));
  return <div className="code" ref={host} />;
}
