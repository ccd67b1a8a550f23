/** A validator for the forms that reads schemas and never compiles them to code. */
import type { Schema, Validator } from "@cfworker/json-schema";
import {
  createErrorHandler,
  type ErrorSchema,
  type RJSFSchema,
  type RJSFValidationError,
  toErrorSchema,
  unwrapErrorHandler,
  type ValidatorType,
  validationDataMerge,
} from "@rjsf/utils";

type Make = (schema: Schema) => Validator;

/** Words for people, from the keyword that failed. */
export function wordsFor(keyword: string, error: string): string {
  switch (keyword) {
    case "required":
      return "This is required.";
    case "enum":
      return "This is not one of the values to choose from.";
    case "type":
      return error.replace(
        /^Instance type "(.+?)" is invalid\. Expected "(.+?)"\.$/,
        "This is a $1; a $2 belongs here.",
      );
    default:
      return error.replace(/^(Instance|String|Array|Value)\b/, "This");
  }
}

const missing = /property "(.+?)"/;

function located(keyword: string, instance: string, error: string): string {
  const path = instance
    .replace(/^#/, "")
    .split("/")
    .slice(1)
    .map((one) => decodeURIComponent(one.replaceAll("~1", "/").replaceAll("~0", "~")));
  if (keyword === "required") path.push(missing.exec(error)?.[1] ?? "");
  return path.map((one) => (/^\d+$/.test(one) ? `[${one}]` : `.${one}`)).join("");
}

export function interpretingValidator(make: Make): ValidatorType {
  const errorsOf = (schema: RJSFSchema, data: unknown): RJSFValidationError[] => {
    const answer = make(schema as Schema).validate(data ?? null);
    // An object repeats what its members say; only the innermost word is of use.
    return answer.errors
      .filter(
        (one) =>
          ![
            "properties",
            "items",
            "additionalItems",
            "prefixItems",
            "$ref",
            "allOf",
            "anyOf",
            "oneOf",
            "if",
            "then",
            "else",
          ].includes(one.keyword),
      )
      .map((one) => {
        const property = located(one.keyword, one.instanceLocation, one.error);
        const message = wordsFor(one.keyword, one.error);
        return { name: one.keyword, property, message, stack: `${property} ${message}` };
      });
  };
  return {
    isValid: (schema, data, root) =>
      make({ ...(root as object), ...(schema as object) } as Schema).validate(data ?? null).valid,
    rawValidation: <Result>(schema: RJSFSchema, data?: unknown) => ({ errors: errorsOf(schema, data) as Result[] }),
    validateFormData: (data, schema, customValidate, transformErrors, uiSchema) => {
      const found = errorsOf(schema, data);
      const errors = transformErrors ? transformErrors(found, uiSchema) : found;
      const errorSchema: ErrorSchema = toErrorSchema(errors);
      if (!customValidate) return { errors, errorSchema };
      const handler = customValidate(data, createErrorHandler(data), uiSchema, errorSchema);
      return validationDataMerge({ errors, errorSchema }, unwrapErrorHandler(handler));
    },
  };
}
