import { ActionButton } from "../ui/Keys";
import type { Editor } from "./editor";

/** The buttons while masks are edited: the keys of the page's other actions are the tools' then. */
export function EditingActions({ editor, submit }: { editor: Editor; submit: () => unknown }) {
  return (
    <>
      <ActionButton action="everywhere.submit" tone="primary" label="Submit as it is" run={submit} />
      <div className="row">
        <ActionButton action="edit.finish" label="Done" run={() => editor.stopEditing()} />
        <ActionButton action="edit.add" label="New instance" run={() => editor.begin()} />
      </div>
    </>
  );
}
