/**
 * @file A cache as bytes, for a file: a cache that is loaded continues like the one that was saved.
 *
 * Layout: 8 bytes of magic, uint32 version, uint32 length of the header, the header (JSON), padding to 8, the arrays
 * one behind the other (each padded to 8), and 32 bytes of SHA-256 over all that comes before. Numbers are
 * little-endian.
 */
import * as v from 'valibot';
import { InputError, SnapshotError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import { sha256 } from '../util/sha256.ts';
import { blockCodec } from './buffers/blocks.ts';
import type { SlotData } from './buffers/slot-array.ts';
import type { KVCache } from './kv-cache.ts';
import { COMMON_OPTIONS } from './options.ts';
import { type AnyCacheOptions, createCache, findPolicy } from './policies.ts';
import type { PolicyEntry } from './policy/policy.ts';
import type { CacheShape } from './shape.ts';
import type { SlotStore } from './slots/slot-store.ts';
import type { SlotStateType, SlotTable } from './slots/slots.ts';

const MAGIC = 'KEYHOLD!';
/** Changes whenever files could be misread. */
const VERSION = 4;
/** Up to here, files have no sums of keys, which are made anew. */
const WITHOUT_KEY_SUMS = 3;
/** Up to here, files hold rope positions and masks of all slots. */
const MASKED = 2;
/** Its int8 and int4 slots hold vectors that are not rotated. */
const UNROTATED = 1;
const DIGEST = 32;
/** A header longer than this is damage. */
const MAX_HEADER = 2 ** 24;

const count = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 31));
const Header = v.object({
  /** Which model the keys and values are of. */
  model: v.string(),
  /** What the cache was made with; a policy of one's own has to be passed in again. */
  policy: v.string(),
  options: v.record(v.string(), v.unknown()),
  /** Whether quantized slots are blocks of ggml: engines differ. */
  blocks: v.optional(v.boolean(), false),
  /** Layer groups whose slots say what position their key is rotated to: it is not their own. */
  turned: v.optional(v.array(v.string()), []),
  /** How the policy's numbers of each slot are stored. */
  slotState: v.optional(v.picklist(['float32', 'float64']), 'float64'),
  rows: v.array(
    v.object({
      tokens: count,
      /** The position that the next token's key is rotated to. */
      place: count,
      filled: v.array(v.array(count)),
      /** How many encoder states it attends to. */
      attached: v.optional(count, 0),
      pending: v.optional(v.array(count), []),
      rotatedFor: v.optional(count, 0),
      /** Queries that the policy has not added up. */
      keptQueries: v.optional(count, 0),
    }),
  ),
});
type Header = v.InferOutput<typeof Header>;

/**
 * Writes a cache down.
 * @param model says which model it belongs to.
 */
export async function snapshotCache(cache: KVCache, model: string): Promise<Uint8Array> {
  const rows = range(cache.batch).map((row) => ({
    tokens: cache.length(row),
    place: cache.ropePosition(row),
    filled: [...cache.store.tables.values()].map((table) => [...table.filledOf(row)]),
    attached: cache.store.crossAttention.length(row),
    pending: [...cache.pending(row)],
    rotatedFor: cache.rotatedFor(row),
    keptQueries: cache.rows[row].keptQueries.length,
  }));
  const options = { ...cache.options, batch: cache.batch };
  const header: Header = {
    model,
    policy: cache.policy,
    options,
    blocks: hasBlocks(cache.shape),
    turned: [...cache.store.tables.values()].filter((table) => table.hasRopePositions).map(({ name }) => name),
    slotState: stateTypeOf(cache),
    rows,
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const arrays = rows.flatMap((_, row) => [Int32Array.from(cache.tokens(row)), ...rowArrays(cache, row)]);
  const size = arrays.reduce((sum, array) => sum + padded(array.byteLength), 16 + padded(text.length));
  const bytes = new Uint8Array(size + DIGEST);
  bytes.set(new TextEncoder().encode(MAGIC));
  const view = new DataView(bytes.buffer);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, text.length, true);
  bytes.set(text, 16);
  let at = 16 + padded(text.length);
  for (const array of arrays) {
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
    at += padded(array.byteLength);
  }
  bytes.set(await digest(bytes.subarray(0, size)), size);
  return bytes;
}

/**
 * The cache that was written down. It goes on bit for bit as the one that was; only its last chunk can't be taken back.
 * Where it was written by an engine that stores quantized slots in another layout, they are quantized once more.
 * @param model as it was given to {@link snapshotCache}.
 * @param policy for a cache whose policy is not in the table.
 * @throws SnapshotError for bytes that are torn, or of something else.
 */
export async function restoreCache(
  bytes: Uint8Array,
  shape: CacheShape,
  model: string,
  policy?: PolicyEntry,
): Promise<KVCache> {
  const { header, body, version } = await readFrame(bytes);
  if (header.model !== model)
    throw new SnapshotError(
      'this cache was saved by another model, other weights or other adapters: load what it was saved with',
    );
  const { blocks } = header;
  const isForeign = blocks !== hasBlocks(shape);
  const foreign = { blocks: blocks ? blockCodec : null };
  const saved = cacheFromHeader(isForeign ? { ...shape, memory: foreign } : shape, header, policy);
  const cache = isForeign ? cacheFromHeader(shape, header, policy) : saved;
  if (header.slotState !== stateTypeOf(cache))
    throw new SnapshotError(
      `this ${cache.policy} cache was saved by another version, which stored scores as ${header.slotState}`,
    );
  for (const { store } of [saved, cache])
    for (const [name, table] of store.tables)
      if (version <= MASKED || header.turned.includes(name)) table.keepRopePositions();
  let at = 0;
  const take = (array: { buffer: ArrayBufferLike; byteOffset: number; byteLength: number }) => {
    if (at + array.byteLength > body.length) throw new SnapshotError('the saved cache ends too early');
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(body.subarray(at, at + array.byteLength));
    at += padded(array.byteLength);
  };
  try {
    for (const [row, record] of header.rows.entries()) {
      const { tokens } = record;
      const { queries } = saved.rows[row].sizes;
      if (4 * (tokens + record.keptQueries * Math.max(1, queries)) > body.length)
        throw new SnapshotError('the saved cache ends too early');
      const ids = new Int32Array(tokens);
      take(ids);
      openRow(saved, row, ids, record);
      for (const array of rowArrays(saved, row, version)) take(array);
      if (!isForeign) continue;
      openRow(cache, row, ids, record);
      convertRow(saved, cache, row);
    }
  } catch (error) {
    throw asSnapshotError(error);
  }
  if (at !== body.length) throw new SnapshotError(`the saved cache has ${body.length - at} bytes too many`);
  for (const table of cache.store.tables.values()) table.trimRopePositions();
  return cache;
}

const hasBlocks = ({ memory }: CacheShape): boolean => Boolean(memory?.blocks);

/** Checks all that can be checked without knowing what the cache is for. */
async function readFrame(bytes: Uint8Array): Promise<{ header: Header; body: Uint8Array; version: number }> {
  const magic = new TextDecoder('latin1').decode(bytes.subarray(0, MAGIC.length));
  if (magic !== MAGIC) throw new SnapshotError('this is not a saved cache');
  if (bytes.length < 16 + DIGEST) throw new SnapshotError('the saved cache is incomplete: it ends in its first bytes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint32(8, true);
  if (version < UNROTATED || version > VERSION)
    throw new SnapshotError(
      `the saved cache is of format ${version}, but this version of Keyhold reads formats ${UNROTATED} to ${VERSION}`,
    );
  const end = bytes.length - DIGEST;
  const stated = bytes.subarray(end);
  const actual = await digest(bytes.subarray(0, end));
  if (actual.some((byte, i) => byte !== stated[i]))
    throw new SnapshotError('the saved cache is incomplete or damaged: its checksum does not match');
  const length = view.getUint32(12, true);
  if (length > MAX_HEADER || 16 + padded(length) > end)
    throw new SnapshotError('the saved cache is damaged: its header has an impossible length');
  try {
    const given = v.parse(Header, JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + length))));
    const header = version === UNROTATED ? withPlainBuffers(given) : given;
    return { header, version, body: bytes.subarray(16 + padded(length), end) };
  } catch (cause) {
    throw new SnapshotError(`the saved cache's header can't be read: ${(cause as Error).message}`, { cause });
  }
}

/** Names the formats of an old file as they are named now. */
function withPlainBuffers({ options, ...header }: Header): Header {
  const plain = (kind: unknown) => (kind === 'int8' || kind === 'int4' ? `${kind}-plain` : kind);
  const { buffer } = options;
  const isPair = typeof buffer === 'object' && buffer !== null;
  const renamed = isPair ? mapRecord(buffer as Record<string, unknown>, plain) : plain(buffer);
  return { ...header, options: buffer === undefined ? options : { ...options, buffer: renamed } };
}

const mapRecord = (record: Record<string, unknown>, of: (value: unknown) => unknown) =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, of(value)]));

function cacheFromHeader(shape: CacheShape, { policy, options, rows }: Header, own: PolicyEntry | undefined): KVCache {
  if (own && own.name !== policy)
    throw new SnapshotError(`the cache was saved under the policy ${policy}, but ${own.name} was passed in`);
  // Before memory is allocated for as many rows as the header says.
  if (options['batch'] !== rows.length)
    throw new SnapshotError(`the saved cache says that it has ${options['batch']} rows, but holds ${rows.length}`);
  try {
    const entry = own ?? includedPolicy(policy);
    const cache = createCache(shape, { ...takenOptions(options, entry), policy: entry });
    const fits = rows.every(({ filled }) => {
      const tables = [...cache.store.tables.values()];
      return filled.length === tables.length && filled.every((groups, i) => groups.length === tables[i].groups);
    });
    if (!fits) throw new SnapshotError('the saved cache has another shape than the model');
    return cache;
  } catch (error) {
    throw asSnapshotError(error);
  }
}

/** @throws InputError for a policy that was not included. */
function includedPolicy(name: string): PolicyEntry {
  try {
    return findPolicy(name);
  } catch (cause) {
    throw new InputError(
      `its policy "${name}" is none of those that are included: give it, as in loadCache(model, path, policy)`,
      { cause },
    );
  }
}

const stateTypeOf = ({ rules }: KVCache): SlotStateType => rules.layout.slotStateType ?? 'float64';

/**
 * All numbers of a row, as arrays over the cache's own memory: to be written out, or filled in.
 * @param version of the file. @internal
 */
export function rowArrays(cache: KVCache, row: number, version = VERSION): (SlotData | Int32Array)[] {
  const { rows, store } = cache;
  const arrays: (SlotData | Int32Array)[] = [
    rows[row].rowState,
    rows[row].layerState,
    ...rows[row].keptQueries,
    ...(version > WITHOUT_KEY_SUMS ? [rows[row].keySums] : []),
    ...store.states.rowViews(row),
    ...store.crossAttention.rowViews(row),
  ];
  for (const table of store.tables.values()) {
    arrays.push(...tableArrays(table, row, version <= MASKED));
    for (const { buffer, group, count } of slotsOf(store, table, row))
      arrays.push(...buffer.slotViews(row, group, count));
  }
  return arrays;
}

function tableArrays(table: SlotTable, row: number, masked = false): (SlotData | Int32Array)[] {
  const from = table.groupIndex(row, 0);
  const groups = range(table.groups).flatMap((g) => {
    const [positions, ...rest] = table.slotViews(row, g);
    if (!masked) return [positions, ...rest];
    const [ropePositions, ...states] = rest;
    return [positions, ropePositions, new Float32Array(positions.length), ...states];
  });
  return [table.evicted.subarray(from, from + table.groups), ...groups];
}

/** The slots in use of a table's layers: of each layer and group. */
function slotsOf({ buffers }: SlotStore, table: SlotTable, row: number) {
  return table.layers.flatMap((l) => {
    const buffer = buffers[l]!;
    return buffer.groups.map((group) => {
      const count = table.filled[table.groupIndex(row, table.groups === 1 ? 0 : group)];
      return { buffer, group, count };
    });
  });
}

/** Copies a row between caches that differ in the layout of their slots only: those are read and written one by one. */
function convertRow(from: KVCache, to: KVCache, row: number): void {
  const numbers = ({ rows, store }: KVCache) => [
    rows[row].rowState,
    rows[row].layerState,
    ...rows[row].keptQueries,
    ...store.states.rowViews(row),
    ...store.crossAttention.rowViews(row),
    ...[...store.tables.values()].flatMap((table) => tableArrays(table, row)),
  ];
  const source = numbers(from);
  numbers(to).forEach((array, i) => {
    array.set(source[i]);
  });
  for (const [name, table] of from.store.tables) {
    const targets = slotsOf(to.store, to.store.tables.get(name)!, row);
    for (const [i, { buffer, group, count }] of slotsOf(from.store, table, row).entries()) {
      const [key, value] = [new Float32Array(buffer.keys.size), new Float32Array(buffer.values.size)];
      for (let slot = 0; slot < count; slot++) {
        buffer.readKey({ row, group, slot }, key);
        buffer.readValue({ row, group, slot }, value);
        targets[i].buffer.write({ row, group, slot }, 1, key, 0, value, 0);
      }
    }
  }
}

/**
 * Makes an empty row one of so many tokens and slots; {@link rowArrays} are then to be filled.
 * @throws InputError for slots beyond the budget.
 */
function openRow(cache: KVCache, row: number, tokens: Int32Array, saved: Header['rows'][number]): void {
  const { store, rows, policy } = cache;
  cache.clearRow(row);
  store.crossAttention.open(row, saved.attached);
  rows[row].open(tokens, saved.place);
  rows[row].pending = saved.pending;
  rows[row].rotatedFor = saved.rotatedFor;
  rows[row].keptQueries = range(saved.keptQueries).map(() => new Float32Array(rows[row].sizes.queries));
  [...store.tables.values()].forEach((table, i) => {
    const filled = saved.filled[i];
    filled.forEach((count, g) => {
      if (count > store.limits.most(table)[g])
        throw new InputError(`${count} slots are more than a group of the ${policy} cache may hold`);
    });
    store.ensure(table, (g) => filled[g], tokens.length);
    filled.forEach((count, g) => {
      for (let slot = 0; slot < count; slot++) table.put(row, g, slot, 0, 0);
      table.filled[table.groupIndex(row, g)] = count;
    });
  });
}

/** Those of the saved options that the policy takes: older versions saved others, too, which meant nothing. */
function takenOptions(options: Header['options'], entry: PolicyEntry | undefined): AnyCacheOptions {
  const known = { ...COMMON_OPTIONS, ...entry?.options };
  const taken = Object.entries(options).filter(([name]) => name in known);
  return Object.fromEntries(taken) as unknown as AnyCacheOptions;
}

function asSnapshotError(error: unknown): unknown {
  return error instanceof InputError
    ? new SnapshotError(`the saved cache can't be opened: ${error.message}`, { cause: error })
    : error;
}

const padded = (length: number): number => Math.ceil(length / 8) * 8;

async function digest(bytes: Uint8Array): Promise<Uint8Array> {
  // Browsers have it only in secure contexts.
  if (globalThis.crypto?.subtle) return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as BufferSource));
  return Uint8Array.from(sha256(bytes).match(/../g)!, (hex) => Number.parseInt(hex, 16));
}
