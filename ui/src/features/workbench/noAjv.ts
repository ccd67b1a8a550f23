/**
 * Stands in for `@rjsf/validator-ajv8`, which a test helper inside `@rjsf/core` imports. It compiles schemas to code, which
 * the page's content security policy forbids; the page validates with `interpretingValidator` instead.
 */
export default {};
