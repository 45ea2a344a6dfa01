/**
 * @file A family's case: a folder with config.json, model.safetensors and expected.safetensors. The checkpoint is
 * loaded as a user would load it, in float32; all logits are compared, in one chunk and in chunks of several lengths,
 * and the greedy tokens that come out of the cache one after the other. Of encoders, what they make of whole sequences
 * is compared.
 */
import { join } from 'node:path';
import { EncoderModel } from '../../src/embed/encoder-model.ts';
import type { LanguageModel } from '../../src/node.ts';
import {
  argmax,
  type CaseKind,
  type CaseResult,
  cutInto,
  type Golden,
  LOGIT_TOLERANCE,
  readGolden,
  relativeError,
  rowsOf,
} from './case.ts';
import { compareEncoder } from './encoder-case.ts';
import { loadCase } from './load-case.ts';

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
      await using model = await loadCase(path, { weights: 'float32', cacheDir, part: part.name });
      const found =
        model instanceof EncoderModel
          ? await compareEncoder(model, part.golden)
          : await compareDecoder(model, await withLogits(path, part.golden));
      error = Math.max(error, found.error);
      failures.push(...found.failures);
      notes.push(found.note);
    }
    return { error, failures, note: notes.join('; ') };
  },
};

/**
 * Of a model without a head, golden values are hidden states: their products with the embedding are its logits, as in a
 * tied head.
 */
async function withLogits(path: string, golden: Map<string, Golden>): Promise<Map<string, Golden>> {
  const hidden = golden.get('hidden');
  if (!hidden || golden.has('logits')) return golden;
  const tensors = await readGolden(join(path, 'model.safetensors'));
  const table = [...tensors].find(([name]) => name.endsWith('embed_tokens.weight'))?.[1];
  if (!table) throw new Error('expected.safetensors holds hidden states, but the checkpoint no embed_tokens');
  const [V, E] = table.shape;
  const rows = hidden.data.length / E;
  const data = new Float32Array(rows * V);
  for (let n = 0; n < rows; n++)
    for (let v = 0; v < V; v++) {
      let sum = 0;
      for (let i = 0; i < E; i++) sum += hidden.data[n * E + i] * table.data[v * E + i];
      data[n * V + v] = sum;
    }
  return new Map([...golden, ['logits', { shape: [...hidden.shape.slice(0, -1), V], data }]]);
}

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
    if (!golden.has(variant.logits)) continue;
    const found = await compareLogits(model, golden, failures, variant);
    error = Math.max(error, found.error);
    note ||= found.note;
    if (variant.says) compared.push(variant.says);
  }
  if (note === '') throw new Error('expected.safetensors holds no input_ids and logits');
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

/** What of a model a comparison runs. */
type Steps = Pick<LanguageModel, 'createCache' | 'step' | 'prefill'> &
  Partial<Pick<LanguageModel, 'setCrossAttentionStates'>>;

/**
 * All logits, in one chunk for the golden values, and in shorter ones for each other. What differs is added to
 * `failures`.
 */
export async function compareLogits(
  model: Steps,
  golden: ReadonlyMap<string, Golden>,
  failures: string[],
  variant: Variant = VARIANTS[0],
) {
  const ids = golden.get('input_ids');
  const logits = golden.get(variant.logits);
  if (!ids || !logits) throw new Error(`expected.safetensors holds no input_ids and ${variant.logits}`);
  const prompts = rowsOf(ids);
  const states = variant.states ? cutInto(golden.get('cross_states')!, prompts.length) : [];
  const sees = variant.sees ? golden.get('sees')! : null;
  const seenBy = (row: number) =>
    sees
      ? cutInto(sees, sees.shape[0] * sees.shape[1]).slice(row * sees.shape[1], (row + 1) * sees.shape[1])
      : undefined;
  const streams = variant.positions ? rowsOf3(golden.get('position_streams')!) : null;
  const positionsOf = (row: number) => streams?.map((stream) => stream[row]);

  const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength });
  for (const [row, data] of states.entries()) await model.setCrossAttentionStates!(cache, data, row);
  const whole = (
    await model.step(cache, prompts, {
      logits: 'all',
      crossAttentionMask: sees ? prompts.map((_, row) => seenBy(row)!) : undefined,
      positions: streams ? prompts.map((_, row) => positionsOf(row)!) : undefined,
    })
  ).logits;
  const error = relativeError(whole, logits.data);
  if (!(error <= LOGIT_TOLERANCE)) failures.push(`${variant.logits} differ by ${error.toExponential(2)}`);
  for (const chunkLength of CHUNKS) {
    const pieces: number[] = [];
    for (const [row, prompt] of prompts.entries()) {
      const one = model.createCache({ policy: 'dense', cacheLength });
      if (states[row]) await model.setCrossAttentionStates!(one, states[row]);
      const options = {
        chunkLength,
        logits: 'all',
        crossAttentionMask: seenBy(row),
        positions: positionsOf(row),
      } as const;
      for (const value of await model.prefill(one, prompt, options)) pieces.push(value);
    }
    const apart = relativeError(pieces, whole);
    if (!(apart <= CHUNK_TOLERANCE))
      failures.push(
        `${variant.says === '' ? '' : `${variant.logits}: `}chunks of ${chunkLength} differ by ${apart.toExponential(2)}`,
      );
  }
  return { error, note: `${prompts.length}x${prompts[0].length} tokens, chunks of ${CHUNKS.join(', ')}` };
}

/** Nested lists of [a, b, c]. */
function rowsOf3(golden: Golden): number[][][] {
  const [a, b] = golden.shape;
  const rows = cutInto(golden, a * b).map((row) => Array.from(row));
  return Array.from({ length: a }, (_, i) => rows.slice(i * b, (i + 1) * b));
}

/** The greedy tokens, one after the other out of the cache. */
export async function compareGreedy(
  model: Steps,
  golden: ReadonlyMap<string, Golden>,
  failures: string[],
): Promise<string> {
  const prompt = golden.get('greedy_prompt');
  const tokens = golden.get('greedy_tokens');
  if (!prompt || !tokens) return 'nothing greedy';
  const cache = model.createCache({ policy: 'dense', cacheLength });
  const states = golden.get('greedy_states');
  if (states) await model.setCrossAttentionStates!(cache, states.data);
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
