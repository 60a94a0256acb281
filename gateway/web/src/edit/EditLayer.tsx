import { Circle, Group, Line, Rect } from "react-konva";
import { useStore } from "zustand";
import type { Viewport } from "../canvas/viewport";
import type { Editor } from "./editor";

/** What is being drawn: clicks, box, stroke, polygon, the brush's ring and the keyboard's cursor. */
export function EditLayer({
  editor,
  viewport,
  colour,
}: {
  editor: Editor;
  viewport: Viewport;
  colour: string;
}) {
  const { gesture, prompt, editing, tool, pointer, cursor, radius } = useStore(editor.store);
  const scale = useStore(viewport.store, (view) => view.scale);
  const pixel = 1 / scale;
  const brush = tool === "brush" || tool === "eraser";
  const ring = cursor ?? pointer;
  return (
    <>
      {gesture?.kind === "stroke" && (
        <Line
          points={gesture.points.flatMap((point) => [point.x, point.y])}
          stroke={gesture.erase ? "#000000" : colour}
          opacity={0.6}
          strokeWidth={2 * gesture.radius}
          lineCap="round"
          lineJoin="round"
        />
      )}
      {gesture?.kind === "box" && (
        <Rect
          x={Math.min(gesture.from.x, gesture.to.x)}
          y={Math.min(gesture.from.y, gesture.to.y)}
          width={Math.abs(gesture.to.x - gesture.from.x)}
          height={Math.abs(gesture.to.y - gesture.from.y)}
          stroke="#ffffff"
          strokeWidth={1.5}
          strokeScaleEnabled={false}
          dash={[6, 4]}
        />
      )}
      {gesture?.kind === "polygon" && (
        <>
          <Line
            points={[...gesture.points, ...(ring ? [ring] : [])].flatMap((point) => [point.x, point.y])}
            stroke={colour}
            fill={`${colour}40`}
            closed={gesture.points.length > 2}
            strokeWidth={2}
            strokeScaleEnabled={false}
          />
          {gesture.points.map((point, index) => (
            <Circle key={index} x={point.x} y={point.y} radius={3.5 * pixel} fill="#ffffff" />
          ))}
        </>
      )}
      {prompt?.points.map((point, index) => (
        <Group key={index} x={point.x} y={point.y} scaleX={pixel} scaleY={pixel}>
          <Circle
            radius={7}
            fill={point.positive ? "#ffffff" : "#101215"}
            stroke={point.positive ? "#101215" : "#ffffff"}
            strokeWidth={2}
          />
          <Line points={[-3.5, 0, 3.5, 0]} stroke={point.positive ? "#101215" : "#ffffff"} strokeWidth={2} />
          {point.positive && <Line points={[0, -3.5, 0, 3.5]} stroke="#101215" strokeWidth={2} />}
        </Group>
      ))}
      {editing && brush && ring && (
        <Circle
          x={ring.x}
          y={ring.y}
          radius={radius}
          stroke={tool === "eraser" ? "#ffffff" : colour}
          strokeWidth={1.5}
          strokeScaleEnabled={false}
        />
      )}
      {cursor && (
        <Group x={cursor.x} y={cursor.y} scaleX={pixel} scaleY={pixel}>
          {[
            { stroke: "#000000", width: 5 },
            { stroke: "#ffffff", width: 2 },
          ].map(({ stroke, width }) => (
            <Group key={stroke}>
              <Line points={[-16, 0, -5, 0]} stroke={stroke} strokeWidth={width} />
              <Line points={[5, 0, 16, 0]} stroke={stroke} strokeWidth={width} />
              <Line points={[0, -16, 0, -5]} stroke={stroke} strokeWidth={width} />
              <Line points={[0, 5, 0, 16]} stroke={stroke} strokeWidth={width} />
            </Group>
          ))}
        </Group>
      )}
    </>
  );
}
