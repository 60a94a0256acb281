import type { ComponentType } from "react";
import type { TaskType } from "../api/types";
import type { Held } from "../queue/desk";
import { type Tasks, TasksPage, useShown } from "../queue/TasksPage";
import { WaitingForWork } from "../queue/WaitingForWork";
import type { Editor } from "./editor";
import { type Start, useEditor } from "./useEditor";

export interface EditedTask extends Tasks {
  readonly held: Held;
  readonly editor: Editor;
}

interface Props {
  readonly name: string;
  readonly types: readonly TaskType[];
  /** What the work on a task begins with. */
  readonly start: Start;
  readonly Task: ComponentType<EditedTask>;
}

/** A page of tasks that are worked on in the editor, one at a time. */
export function EditedTasks({ name, types, start, Task }: Props) {
  return (
    <TasksPage name={name} types={types}>
      {(tasks) => <Shown {...tasks} start={start} Task={Task} />}
    </TasksPage>
  );
}

function Shown({ start, Task, ...tasks }: Tasks & Pick<Props, "start" | "Task">) {
  const { held, ahead } = useShown(tasks.desk);
  const editor = useEditor(held, ahead, start);
  if (!held || !editor) return <WaitingForWork {...tasks} />;
  return <Task key={editor.task.id} {...tasks} held={held} editor={editor} />;
}
