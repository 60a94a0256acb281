import { Circle, Group, Line, Text } from "react-konva";
import { useStore } from "zustand";
import type { Viewport } from "../canvas/viewport";
import type { Point } from "../masks/bitmap";

/** Where something is missing: a numbered ring, equally large at every zoom. */
export function MarkLayer({ marks, viewport }: { marks: readonly Point[]; viewport: Viewport }) {
  const pixel = 1 / useStore(viewport.store, (view) => view.scale);
  return marks.map((mark, index) => (
    <Group key={index} x={mark.x} y={mark.y} scaleX={pixel} scaleY={pixel}>
      <Circle radius={15} stroke="#000000" strokeWidth={5} opacity={0.55} />
      <Circle radius={15} stroke="#ffffff" strokeWidth={2} />
      {[0, 90, 180, 270].map((rotation) => (
        <Line key={rotation} points={[10, 0, 20, 0]} stroke="#ffffff" strokeWidth={2} rotation={rotation} />
      ))}
      <Circle x={14} y={-14} radius={9} fill="#ffffff" />
      <Text
        x={4}
        y={-20}
        width={20}
        align="center"
        text={String(index + 1)}
        fontSize={12}
        fontStyle="bold"
        fill="#101215"
      />
    </Group>
  ));
}
