/**
 * @file What a user is told of a checkpoint that is quantised already.
 */

/**
 * @param how the weights are quantised, e.g. `GPTQ`.
 * @param asBlocks whether the ggml engine can hold them exactly in a format of its own.
 */
export function quantisedNote(how: string, asBlocks = false): string {
  return (
    `The weights are quantised already (${how}). They are read as the floats that they stand for: --weights float32 computes with ` +
    `exactly these${asBlocks ? ', and so does q4_0 on the engine ggml, which holds the same 4 bits' : ''}. ` +
    'int8 quantises them anew and moves a weight by at most 1/254 of the largest of its block of 32, int4 by 1/16.'
  );
}
