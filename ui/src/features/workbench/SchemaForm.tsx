/** The form of an input schema. Its validator interprets the schema: compiling one would need `eval`, which the page forbids. */
import { Validator } from "@cfworker/json-schema";
import { MantineProvider } from "@mantine/core";
import "@mantine/core/styles/default-css-variables.css";
import "@mantine/core/styles/UnstyledButton.css";
import "@mantine/core/styles/Button.css";
import "@mantine/core/styles/ActionIcon.css";
import "@mantine/core/styles/Input.css";
import "@mantine/core/styles/InlineInput.css";
import "@mantine/core/styles/NumberInput.css";
import "@mantine/core/styles/Checkbox.css";
import "@mantine/core/styles/Radio.css";
import "@mantine/core/styles/Slider.css";
import "@mantine/core/styles/Combobox.css";
import "@mantine/core/styles/Pill.css";
import "@mantine/core/styles/PillsInput.css";
import "@mantine/core/styles/Popover.css";
import "@mantine/core/styles/ScrollArea.css";
import "@mantine/core/styles/CloseButton.css";
import "@mantine/core/styles/Stack.css";
import "@mantine/core/styles/Flex.css";
import "@mantine/core/styles/Group.css";
import "@mantine/core/styles/Grid.css";
import "@mantine/core/styles/Text.css";
import "@mantine/core/styles/Title.css";
import "@mantine/core/styles/Paper.css";
import "@mantine/core/styles/List.css";
import "@mantine/core/styles/Fieldset.css";
import Form from "@rjsf/mantine";
import type { RJSFSchema } from "@rjsf/utils";
import type { Json, JsonObject } from "@/api/types";
import { useTheme } from "@/app/theme";
import { interpretingValidator } from "./interpretingValidator";
import "./form.css";

type Props = {
  id: string;
  schema: JsonObject;
  value: Json;
  onChange: (value: Json) => void;
  onSubmit: (value: Json) => void;
};

const validator = interpretingValidator((schema) => new Validator(schema, "2020-12", false));

export default function SchemaForm({ id, schema, value, onChange, onSubmit }: Props) {
  const theme = useTheme((state) => state.theme);
  return (
    <MantineProvider forceColorScheme={theme} theme={{ fontFamily: "var(--sans)", defaultRadius: 6 }}>
      <Form
        id={id}
        className="schema-form"
        schema={schema as RJSFSchema}
        formData={value}
        validator={validator}
        showErrorList={false}
        noHtml5Validate
        focusOnFirstError
        // The fields say what is wrong; without this it would be logged as an error of the page.
        onError={() => {}}
        uiSchema={{ "ui:submitButtonOptions": { norender: true } }}
        onChange={(event) => onChange((event.formData ?? null) as Json)}
        onSubmit={(event) => onSubmit((event.formData ?? null) as Json)}
      />
    </MantineProvider>
  );
}
