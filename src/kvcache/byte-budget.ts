/**
 * @file `cacheBytes`: a budget in bytes. It chooses the slots and the format in which they are stored, so that the sum
 * of all that a cache keeps between two steps stays below.
 */
import { InputError } from '../util/errors.ts';
import { checkOptionsObject, shown } from '../util/option-names.ts';
import { type BufferChoice, bufferName } from './buffers.ts';
import type { KVCache } from './kv-cache.ts';
import { type AnyCacheOptions, createCache, wantsTable } from './policies.ts';
import type { CacheShape } from './shape.ts';
import { KEPT_UNDO_SLOTS } from './slots/undo.ts';

/** Formats from the most exact one on: the first in which the whole context fits is taken, else the last. */
const FORMATS: readonly BufferChoice[] = [
  'float32',
  'float16',
  'int8',
  { keys: 'int8', values: 'int4' },
  { keys: 'int5', values: 'int4' },
  'int4',
];

/** Budgets below which policies may refuse to work are tried up to here. */
const SMALLEST = 64;

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

/** What `cacheBytes` says: bytes, or a part of a dense float16 cache. */
export type ByteBudget = { readonly bytes: number } | { readonly part: number };

/**
 * @param given bytes, or a text such as `64MB`, `512KiB` or `10%`.
 * @throws InputError for anything else.
 */
export function readCacheBytes(given: unknown): ByteBudget {
  const text = typeof given === 'number' ? String(given) : typeof given === 'string' ? given.trim().toLowerCase() : '';
  const [, number, unit] = /^(\d+(?:\.\d+)?(?:e\d+)?)\s*(%|[kmg]i?b|b|)$/.exec(text) ?? [];
  const size = Number(number);
  if (number === undefined || !(size > 0))
    throw new InputError(`cacheBytes must be a number of bytes, or a text such as 64MB or 10%, but is ${shown(given)}`);
  return unit === '%' ? { part: size / 100 } : { bytes: Math.floor(size * UNITS[unit]) };
}

/**
 * The most bytes that a cache keeps between two steps (`memory().total`), for sequences of up to `tokens` tokens.
 * Encoder states that are given later are not included.
 */
export function mostBytes({ store, rows, batch, rules }: KVCache, tokens: number): number {
  let bytes = store.maxSlotBytes + store.states.bytes + store.states.undoBytes + store.crossAttention.bytes;
  for (const row of rows) bytes += row.mostBytes(tokens);
  const { limits } = store;
  const alone = batch === 1;
  bytes += batch * limits.mostOfAll((table) => 4 + table.slotStateBytes, alone);
  // The state once more to take the last token back, where each token changes it.
  if (rules.scoresDecode) bytes += batch * limits.mostOfAll((table) => table.slotStateBytes, alone);
  for (const table of store.tables.values()) {
    bytes += batch * 8 * table.groups;
    // What the last chunk overwrote, with the slots' indices, positions and state.
    bytes += batch * KEPT_UNDO_SLOTS * (16 + table.slotStateBytes) * table.groups;
    for (const l of table.layers)
      bytes += batch * KEPT_UNDO_SLOTS * store.buffers[l]!.groups.length * store.buffers[l]!.slotBytes;
  }
  return bytes;
}

/** Bytes of keys, values and states of a dense float16 cache for so many tokens. */
export function denseBytes(shape: CacheShape, tokens: number, batch = 1): number {
  const { keysAndValuesLimit, states } = createCache(shape, {
    policy: 'dense',
    cacheLength: tokens,
    buffer: 'float16',
    batch,
  }).memory();
  return keysAndValuesLimit + states;
}

/**
 * Options with `cacheBytes` as options with a `cacheLength` and a `buffer`; others are unchanged. A cacheLength beside
 * it is the length of the sequence that a part counts of, and the most slots. A longer sequence takes 5 bytes a token
 * more, for its token ids, and 4 a slot once its keys were rebased.
 * @param contextLength tokens of the longest sequence.
 * @throws InputError for a budget that the smallest cache exceeds; it says how much that takes.
 */
export function resolveCacheBytes<T extends Partial<AnyCacheOptions>>(
  shape: CacheShape,
  options: T,
  contextLength: number,
): T & AnyCacheOptions {
  checkOptionsObject('a cache', options);
  if (options.cacheBytes === undefined) return { cacheLength: contextLength, ...options };
  const given = readCacheBytes(options.cacheBytes);
  const context = options.cacheLength ?? contextLength;
  const batch = options.batch ?? 1;
  const bytes = 'bytes' in given ? given.bytes : Math.floor(given.part * denseBytes(shape, context, batch));
  const { policy = 'lastrec' } = options;
  const known = knownLength(options, context);
  const optionsFor = (cacheLength: number, buffer: BufferChoice) => ({
    ...options,
    ...known,
    policy,
    cacheLength,
    buffer,
    cacheBytes: bytes,
  });
  const sizeOf = (cacheLength: number, buffer: BufferChoice) =>
    mostBytes(createCache(shape, optionsFor(cacheLength, buffer)), context);
  const formats = options.buffer
    ? [{ buffer: options.buffer, size: sizeOf(context, options.buffer) }]
    : FORMATS.flatMap((buffer) => {
        const size = sizeIfStored(() => sizeOf(context, buffer));
        return size === null ? [] : [{ buffer, size }];
      });
  const whole = formats.find(({ size }) => size <= bytes);
  if (whole) return optionsFor(context, whole.buffer);
  const buffer = formats.at(-1)?.buffer;
  // An option that no format can do anything about: the policy says what is wrong.
  if (buffer === undefined) return optionsFor(context, 'float32');
  const [smallest, least] = smallestCache(context, (length) => sizeOf(length, buffer));
  if (least > bytes) throw tooSmall(bytes, least, smallest, bufferName(buffer), policy);
  let [fits, exceeds] = [smallest, context];
  while (exceeds - fits > 1) {
    const middle = Math.floor((fits + exceeds) / 2);
    if (sizeOf(middle, buffer) <= bytes) fits = middle;
    else exceeds = middle;
  }
  return optionsFor(fits, buffer);
}

/** The length of the sequence, for a policy that distributes by it. */
function knownLength(options: Partial<AnyCacheOptions>, context: number): { length?: number } {
  return options.length === undefined && wantsTable(options) ? { length: context } : {};
}

/** What a cache takes; null where a format does not do for the model's heads, or the policy refuses its options. */
function sizeIfStored(make: () => number): number | null {
  try {
    return make();
  } catch (error) {
    if (error instanceof InputError) return null;
    throw error;
  }
}

/**
 * The fewest slots that the policy works with, and what they take.
 * @throws InputError as the policy, where it works with none.
 */
function smallestCache(context: number, sizeOf: (length: number) => number): readonly [slots: number, bytes: number] {
  const most = Math.min(SMALLEST, context);
  for (let length = 1; length < most; length++) {
    const size = sizeIfStored(() => sizeOf(length));
    if (size !== null) return [length, size];
  }
  return [most, sizeOf(most)];
}

function tooSmall(
  bytes: number,
  least: number,
  slots: number,
  format: string,
  policy: AnyCacheOptions['policy'],
): InputError {
  const name = typeof policy === 'string' ? policy : policy && 'entry' in policy ? policy.entry.name : policy?.name;
  const count = (n: number) => n.toLocaleString('en');
  return new InputError(
    `cacheBytes of ${count(bytes)} bytes is too little: the smallest ${name} cache of this model takes ${count(least)} bytes ` +
      `(${count(slots)} ${slots === 1 ? 'slot' : 'slots'} of each layer and group in ${format}, with tables and states)`,
  );
}
