import { type ComponentProps, useMemo } from "react";
import { useStore } from "zustand";
import { type Figure, ImageCanvas } from "../canvas/ImageCanvas";
import { viewportOf } from "../canvas/viewport";
import type { Desk, Held } from "../queue/desk";
import { LeaseState } from "../queue/LeaseState";
import { EditLayer } from "./EditLayer";
import type { Editor } from "./editor";
import { Toolbar } from "./Toolbar";
import { pointerTool } from "./tools";

interface Props extends ComponentProps<"section"> {
  readonly desk: Desk;
  readonly held: Held;
  readonly editor: Editor;
  readonly figures: readonly Figure[];
  /** Of what is being drawn. */
  readonly colour: string;
  /** For screen readers. */
  readonly label: string;
  onPick(id: string | null): void;
}

/** The image of a task with its masks and, while it is edited, the tools. Children are further Konva nodes. */
export function EditStage(props: Props) {
  const { desk, held, editor, figures, colour, label, onPick, children, ...section } = props;
  const { editing, hidden } = useStore(editor.store);
  const tool = useMemo(() => pointerTool(editor), [editor]);
  const { image } = held.task;
  const viewport = viewportOf(image.id);
  const drawing = editing && !held.decided;
  return (
    <section className="stage" data-region="image" aria-label="Image" {...section}>
      {drawing && <Toolbar editor={editor} />}
      <ImageCanvas
        image={image}
        viewport={viewport}
        figures={figures}
        hidden={hidden}
        label={label}
        tool={drawing ? tool : null}
        onPick={onPick}
      >
        <EditLayer editor={editor} viewport={viewport} colour={colour} />
        {children}
      </ImageCanvas>
      {hidden && <p className="stage-note">Masks are hidden</p>}
      <LeaseState desk={desk} held={held} />
    </section>
  );
}
