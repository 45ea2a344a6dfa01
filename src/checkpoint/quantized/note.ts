/**
 * @file What a user is told of a checkpoint that is quantized already.
 */

/**
 * @param how the weights are quantized, e.g. `GPTQ`.
 * @param asBlocks the ggml engine's format that holds them exactly; undefined: there is none.
 */
export function quantizedNote(how: string, asBlocks?: string): string {
  return (
    `The weights are quantized already (${how}). They are read as the floats that they stand for: --weights float32 computes with ` +
    `exactly these${asBlocks ? `, and ${asBlocks} on the engine ggml holds the same 4 bits` : ''}. ` +
    'int8 quantizes them anew and moves a weight by at most 1/254 of the largest of its block of 32, int4 by 1/16.'
  );
}
