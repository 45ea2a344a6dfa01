/**
 * @file What a family's case compares where the model is an encoder.
 */
import type { EncoderInput, EncoderModel } from '../../src/node.ts';
import { type CaseResult, cutInto, type Golden, LOGIT_TOLERANCE, largestError, rowsOf } from './case.ts';

/**
 * Encoders: `hidden` (what the encoder gives of itself), `hidden_positions_shifted` for position ids 3t + 1, `pooled`,
 * and `hidden_masked` for `attention_mask` [B, T], of which only the rows of tokens that are seen are compared.
 */
export async function compareEncoder(model: EncoderModel, golden: Map<string, Golden>): Promise<CaseResult> {
  const failures: string[] = [];
  const compared: string[] = [];
  let worst = 0;
  const compare = (name: string, actual: ArrayLike<number>, expected: ArrayLike<number>) => {
    const error = largestError(actual, expected);
    worst = Math.max(worst, error);
    if (!(error <= LOGIT_TOLERANCE)) failures.push(`${name} differs by ${error.toExponential(2)}`);
    compared.push(name);
  };
  const input = encoderInput(model, golden);
  const rows = Object.values(input)[0].length;
  const pooled = golden.get('pooled');
  const hidden = golden.get('hidden');
  const output = pooled ? ('hidden' as const) : undefined;
  if (hidden) compare('hidden', (await model.encode(input, { output })).data, hidden.data);
  if (pooled) compare('pooled', (await model.encode(input)).data, pooled.data);
  const shifted = golden.get('hidden_positions_shifted');
  if (shifted) {
    const positions = Array.from({ length: rows }, () => Array.from({ length: shifted.shape[1] }, (_, t) => 3 * t + 1));
    compare('hidden at other positions', (await model.encode(input, { positions })).data, shifted.data);
  }
  const masked = golden.get('hidden_masked');
  if (masked) {
    const mask = cutInto(golden.get('attention_mask')!, rows);
    const { data } = await model.encode(input, { mask, output });
    const seen = mask.flatMap((row) => Array.from(row));
    const width = masked.shape[2];
    const keep = (values: Float32Array) =>
      seen.flatMap((on, n) => (on ? Array.from(values.subarray(n * width, (n + 1) * width)) : []));
    compare('hidden with a mask', keep(data), keep(masked.data));
  }
  if (compared.length === 0) throw new Error('expected.safetensors holds nothing of an encoder');
  return { error: worst, failures, note: compared.join(', ') };
}

/** The input that a case gives an encoder. */
export function encoderInput(model: EncoderModel, golden: ReadonlyMap<string, Golden>): EncoderInput {
  const pixels = golden.get('pixel_values');
  if (model.config.input === 'patches' && pixels) {
    const [count, , height, width] = pixels.shape;
    return { images: cutInto(pixels, count).map((data) => ({ pixels: data, width, height })) };
  }
  const vectors = golden.get('inputs_embeds');
  if (vectors) return { vectors: cutInto(vectors, vectors.shape[0]) };
  const ids = golden.get('input_ids');
  if (!ids) throw new Error('expected.safetensors holds no input_ids, inputs_embeds or pixel_values');
  return { ids: rowsOf(ids) };
}
