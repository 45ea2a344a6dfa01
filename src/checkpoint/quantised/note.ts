/**
 * @file What a user is told of a checkpoint that is quantised already.
 */

/** @param how the weights are quantised, e.g. `GPTQ`. */
export function quantisedNote(how: string): string {
  return (
    `The weights are quantised already (${how}). They are read as the floats that they stand for: --weights float32 computes with ` +
    'exactly these. int8 quantises them anew and moves a weight by at most 1/254 of the largest of its block of 32, int4 by 1/16.'
  );
}
