export function WorkbenchPage() {
  return null;
}
export function NewWorkflowPage() {
  return null;
}
