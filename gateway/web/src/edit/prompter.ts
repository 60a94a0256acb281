/** Clicks and boxes that the segmenter answers with a mask. One question at a time: the next breaks it off. */

import { segment } from "../api/routes";
import type { Point } from "../masks/bitmap";
import { geometryOf } from "../masks/geometry";
import type { Box, Rle } from "../masks/rle";
import { complain } from "../ui/notices";
import type { Editor } from "./editor";
import type { PromptPoint } from "./state";
import { changeInstance, instanceOf } from "./work";

interface Question {
  readonly boxes?: [number, number, number, number][];
  readonly points?: readonly PromptPoint[];
  readonly mask?: Rle | null;
}

export class Prompter {
  private asked: AbortController | null = null;

  constructor(private readonly editor: Editor) {}

  /** A click of the click tool, on the chosen instance or on a new one. */
  async click(at: Point, positive: boolean): Promise<void> {
    const { editor } = this;
    const { width, height } = editor.task.image;
    const x = Math.min(width - 0.5, Math.max(0.5, at.x));
    const y = Math.min(height - 0.5, Math.max(0.5, at.y));
    const id = editor.selected?.id ?? editor.begin();
    const { prompt } = editor.state;
    const mask = prompt ? prompt.base : (editor.selected?.rle ?? null);
    const points = [...(prompt?.points ?? []), { x, y, positive }];
    if (!mask && !points.some((point) => point.positive)) return;
    editor.change({ prompt: { base: mask, points } });
    // The click itself is the step; its answer belongs to it.
    const rle = await this.ask({ points, mask });
    if (rle)
      editor.store.setState(({ work }) => ({ work: changeInstance(work, id, { rle, dropped: false }) }));
  }

  /** A box of the box tool. */
  async box(box: Box): Promise<void> {
    const { editor } = this;
    if (box.width < 2 || box.height < 2) return;
    const id = editor.selected?.id ?? editor.begin();
    const rle = await this.ask({ boxes: [[box.x, box.y, box.width, box.height]] });
    if (rle) editor.put(id, rle);
  }

  /** Asks for the mask of an instance that has a box only. */
  async fill(id: string): Promise<void> {
    const { editor } = this;
    const box = instanceOf(editor.state.work, id)?.box;
    if (!box) return;
    const rle = await this.ask({ boxes: [[box.x, box.y, box.width, box.height]] });
    if (rle)
      editor.store.setState(({ work }) => ({ work: changeInstance(work, id, { rle, dropped: false }) }));
  }

  stop(): void {
    this.asked?.abort();
  }

  /** The mask; null where there is none, of which the person is told, and where the question was broken off. */
  private async ask({ boxes = [], points = [], mask = null }: Question): Promise<Rle | null> {
    const { editor } = this;
    this.stop();
    const request = new AbortController();
    this.asked = request;
    editor.store.setState({ asking: true });
    try {
      const found = await segment(editor.task.image.id, { boxes, points, mask }, request.signal);
      if (request.signal.aborted) return null;
      const rle = found[0]?.rle ?? null;
      if (rle && geometryOf(rle).area > 0) return rle;
      complain(new Error("The model found nothing there. Try a box, or draw it."));
      return null;
    } catch (error) {
      if (!request.signal.aborted) complain(error, "The model did not answer:");
      return null;
    } finally {
      if (this.asked === request) editor.store.setState({ asking: false });
    }
  }
}
