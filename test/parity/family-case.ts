/**
 * @file A family's case: a folder with config.json, model.safetensors and expected.safetensors. The checkpoint is loaded as a
 * user would load it, in float32; all logits are compared, in one chunk and in chunks of several lengths, and the greedy
 * tokens that come out of the cache one after the other. Of encoders, what they make of whole sequences is compared.
 */
import { join } from 'node:path';
import { type EncoderInput, type LanguageModel, loadModel } from '../../src/node.ts';
import { argmax, type CaseKind, type CaseResult, type Golden, largestError, readGolden } from './case.ts';

/** Largest error of a logit, in float32 against float64. */
export const LOGIT_TOLERANCE = 2e-4;
/** How much chunks of different lengths may differ from one chunk. */
export const CHUNK_TOLERANCE = 1e-4;
const CHUNKS = [1, 3, 7];
/** Slots for any case; some configs state a context that is shorter than their prompts. */
const cacheLength = 512;

export const familyCase: CaseKind = {
  name: 'family',
  matches: (_, entries) =>
    ['config.json', 'model.safetensors', 'expected.safetensors'].every((file) => entries?.includes(file)),
  async run(path, { cacheDir }): Promise<CaseResult> {
    const golden = await readGolden(join(path, 'expected.safetensors'));
    const failures: string[] = [];
    let error = 0;
    const notes: string[] = [];
    for (const part of partsOf(golden)) {
      await using model = await loadModel(path, { weights: 'f32', cacheDir, part: part.name });
      const found =
        model.config.output === 'logits'
          ? await compareDecoder(model, part.golden)
          : await compareEncoder(model, part.golden);
      error = Math.max(error, found.error);
      failures.push(...found.failures);
      notes.push(found.note);
    }
    return { error, failures, note: notes.join('; ') };
  },
};

/** A checkpoint of several models has golden values `NAME/...` for its part NAME. */
function partsOf(golden: Map<string, Golden>): { name: string | undefined; golden: Map<string, Golden> }[] {
  const names = new Set(
    [...golden.keys()].map((key) => (key.includes('/') ? key.slice(0, key.indexOf('/')) : undefined)),
  );
  return [...names].map((name) => ({
    name,
    golden: new Map(
      [...golden].flatMap(([key, value]) =>
        name === undefined
          ? key.includes('/')
            ? []
            : [[key, value] as const]
          : key.startsWith(`${name}/`)
            ? [[key.slice(name.length + 1), value] as const]
            : [],
      ),
    ),
  }));
}

async function compareDecoder(model: LanguageModel, golden: Map<string, Golden>): Promise<CaseResult> {
  const failures: string[] = [];
  const compared: string[] = [];
  let error = 0;
  let note = '';
  for (const variant of VARIANTS) {
    const logits = golden.get(variant.logits);
    if (!logits) continue;
    const found = await compareLogits(model, golden, logits, variant, failures);
    error = Math.max(error, found.error);
    note ||= found.note;
    if (variant.says) compared.push(variant.says);
  }
  if (note === '') throw new Error('expected.safetensors holds no logits');
  const greedy = await compareGreedy(model, golden, failures);
  return { error, failures, note: [note, ...compared, greedy].join(', ') };
}

/** Ways to run a decoder, each with golden logits of its own. */
interface Variant {
  readonly logits: string;
  readonly says: string;
  /** `cross_states` [B, S, width] are attached. */
  readonly states: boolean;
  /** Which of them a token sees: `sees` [B, T, S]. */
  readonly sees: boolean;
  /** Positions of all streams: `position_streams` [streams, B, T]. */
  readonly positions: boolean;
}
const PLAIN = { states: false, sees: false, positions: false };
const VARIANTS: readonly Variant[] = [
  { ...PLAIN, logits: 'logits', says: '' },
  { ...PLAIN, logits: 'logits_cross', says: 'attached states', states: true },
  { ...PLAIN, logits: 'logits_sees', says: 'some of them seen', states: true, sees: true },
  { ...PLAIN, logits: 'logits_positions', says: 'three positions a token', positions: true },
];

function rowsOf({ shape, data }: Golden): number[][] {
  const [rows, length] = shape.length === 1 ? [1, shape[0]] : shape;
  return Array.from({ length: rows }, (_, r) => Array.from(data.subarray(r * length, (r + 1) * length)));
}

async function compareLogits(
  model: LanguageModel,
  golden: Map<string, Golden>,
  logits: Golden,
  variant: Variant,
  failures: string[],
) {
  const ids = golden.get('input_ids');
  if (!ids) throw new Error('expected.safetensors holds no input_ids');
  const prompts = rowsOf(ids);
  const states = variant.states ? blocks(golden.get('cross_states')!, prompts.length) : [];
  const sees = variant.sees ? golden.get('sees')! : null;
  const seenBy = (row: number) =>
    sees
      ? blocks(sees, sees.shape[0] * sees.shape[1]).slice(row * sees.shape[1], (row + 1) * sees.shape[1])
      : undefined;
  const streams = variant.positions ? rowsOf3(golden.get('position_streams')!) : null;
  const positionsOf = (row: number) => streams?.map((stream) => stream[row]);

  const cache = model.createCache({ batch: prompts.length, cacheLength });
  for (const [row, data] of states.entries()) await model.attach(cache, data, row);
  const whole = (
    await model.step(cache, prompts, {
      logits: 'all',
      sees: sees ? prompts.map((_, row) => seenBy(row)!) : undefined,
      positions: streams ? prompts.map((_, row) => positionsOf(row)!) : undefined,
    })
  ).logits;
  const error = largestError(whole, logits.data);
  if (!(error <= LOGIT_TOLERANCE)) failures.push(`${variant.logits} differ by ${error.toExponential(2)}`);
  for (const chunkLength of CHUNKS) {
    const pieces: number[] = [];
    for (const [row, prompt] of prompts.entries()) {
      const one = model.createCache({ cacheLength });
      if (states[row]) await model.attach(one, states[row]);
      const options = { chunkLength, logits: 'all', sees: seenBy(row), positions: positionsOf(row) } as const;
      for (const value of await model.prefill(one, prompt, options)) pieces.push(value);
    }
    const apart = largestError(pieces, whole);
    if (!(apart <= CHUNK_TOLERANCE))
      failures.push(`${variant.logits}: chunks of ${chunkLength} differ by ${apart.toExponential(2)}`);
  }
  return { error, note: `${prompts.length}x${prompts[0].length} tokens, chunks of ${CHUNKS.join(', ')}` };
}

/** `count` pieces of equal length. */
function blocks({ data }: Golden, count: number): Float32Array[] {
  const length = data.length / count;
  return Array.from({ length: count }, (_, i) => data.slice(i * length, (i + 1) * length));
}

/** Nested lists of [a, b, c]. */
function rowsOf3(golden: Golden): number[][][] {
  const [a, b] = golden.shape;
  const rows = blocks(golden, a * b).map((row) => Array.from(row));
  return Array.from({ length: a }, (_, i) => rows.slice(i * b, (i + 1) * b));
}

async function compareGreedy(model: LanguageModel, golden: Map<string, Golden>, failures: string[]): Promise<string> {
  const prompt = golden.get('greedy_prompt');
  const tokens = golden.get('greedy_tokens');
  if (!prompt || !tokens) return 'nothing greedy';
  const cache = model.createCache({ cacheLength });
  const states = golden.get('greedy_states');
  if (states) await model.attach(cache, states.data);
  let logits = await model.prefill(cache, prompt.data);
  for (const [i, expected] of tokens.data.entries()) {
    const token = argmax(logits);
    if (token !== expected) {
      failures.push(`greedy token ${i} is ${token} instead of ${expected}`);
      break;
    }
    logits = await model.prefill(cache, [token]);
  }
  return `${tokens.data.length} greedy tokens`;
}

/**
 * Encoders: `hidden` (what the encoder gives of itself), `hidden_positions_shifted` for position ids 3t + 1, `pooled`, and
 * `hidden_masked` for `attention_mask` [B, T], of which only the rows of tokens that are seen are compared.
 */
async function compareEncoder(model: LanguageModel, golden: Map<string, Golden>): Promise<CaseResult> {
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
    const mask = blocks(golden.get('attention_mask')!, rows);
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

function encoderInput(model: LanguageModel, golden: Map<string, Golden>): EncoderInput {
  const pixels = golden.get('pixel_values');
  if (model.config.input === 'patches' && pixels) {
    const [count, , height, width] = pixels.shape;
    return { images: blocks(pixels, count).map((data) => ({ pixels: data, width, height })) };
  }
  const vectors = golden.get('inputs_embeds');
  if (vectors) return { vectors: blocks(vectors, vectors.shape[0]) };
  const ids = golden.get('input_ids');
  if (!ids) throw new Error('expected.safetensors holds no input_ids, inputs_embeds or pixel_values');
  return { ids: rowsOf(ids) };
}
