/**
 * Colours of instances: Okabe and Ito's set for every kind of colour vision (https://jfly.uni-koeln.de/color/),
 * without black, which is the surround. Objects are also numbered, so that no colour has to be told from another.
 */

export const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"] as const;

/** The colour of the instance at a place in its pair. */
export function colourOf(index: number): string {
  return PALETTE[index % PALETTE.length] ?? PALETTE[0];
}
