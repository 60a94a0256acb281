import { useStore } from "zustand";
import { ActionButton } from "../ui/Keys";
import type { Editor } from "./editor";
import { TOOLS } from "./tools";

/** The tools, above the image, while it is edited. */
export function Toolbar({ editor }: { editor: Editor }) {
  const { tool, radius, asking } = useStore(editor.store);
  const brush = tool === "brush" || tool === "eraser";
  return (
    <div className="toolbar" role="toolbar" aria-label="Tools">
      {TOOLS.map(({ name, label }) => (
        <ActionButton
          key={name}
          action={`edit.${name}`}
          label={label}
          pressed={tool === name}
          run={() => editor.use(name)}
        />
      ))}
      {brush && (
        <label className="radius">
          Size
          <input
            type="range"
            min={1}
            max={Math.max(40, Math.ceil(radius))}
            step={0.5}
            value={radius}
            onChange={(event) => editor.store.setState({ radius: Number(event.target.value) })}
          />
          {Math.round(2 * radius)} px
        </label>
      )}
      <output className="asking">
        {asking ? "Asking the model…" : TOOLS.find(({ name }) => name === tool)?.help}
      </output>
      <ActionButton action="edit.finish" label="Done" run={() => editor.stopEditing()} />
    </div>
  );
}
