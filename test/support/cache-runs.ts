/**
 * @file Random runs of a cache on a fake model: shapes, budgets, chunks, options, and every policy.
 */
import fc from 'fast-check';
import { expect } from 'vitest';
import { type BufferKind, createBuffer } from '../../src/kvcache/buffers.ts';
import type { KVCache } from '../../src/kvcache/kv-cache.ts';
import { type AnyCacheOptions, createCache } from '../../src/kvcache/policies.ts';
import { definePolicy } from '../../src/kvcache/policy/define-policy.ts';
import type { ChunkOutputs } from '../../src/kvcache/rows/chunk.ts';
import type { CacheShape } from '../../src/kvcache/shape.ts';
import { EMPTY_SLOT, type SlotTable } from '../../src/kvcache/slots/slots.ts';
import { rowArrays } from '../../src/kvcache/snapshot.ts';
import { range } from '../../src/util/numbers.ts';
import { anyTable } from './calibration.ts';
import { FakeModel, type FakeShape, fakeRotation, fakeShape } from './fake-model.ts';
import { EVICTING_POLICIES } from './policy-names.ts';

/** One step: how many tokens each row gets. */
export interface RunStep {
  readonly lengths: readonly number[];
  readonly phase: ChunkOutputs['phase'];
}

export interface Run {
  readonly seed: number;
  readonly shape: FakeShape;
  readonly cacheLength: number;
  readonly buffer: BufferKind;
  /** Slots by which the memory grows. */
  readonly growth: number;
  readonly rows: number;
  readonly sinks?: number;
  readonly recent?: number;
  readonly steps: readonly RunStep[];
}

export interface RunLimits {
  readonly rows?: number;
  readonly buffers?: readonly BufferKind[];
  /** Most tokens of a chunk. */
  readonly chunk?: number;
  readonly windows?: boolean;
  readonly cacheLength?: number;
  readonly steps?: number;
  readonly headSizes?: readonly number[];
}

/** Small ones: that keys of more than 32 dimensions have several scales is the buffers' matter. */
const HEAD_SIZES = [2, 4, 4, 6, 8, 10];

export const ALL_BUFFERS: readonly BufferKind[] = [
  'float32',
  'float16',
  'int8',
  'int5',
  'int4',
  'int8-plain',
  'int4-plain',
];

/** Random runs. Rows of a step differ in length, and may be empty. */
export function anyRun(limits: RunLimits = {}): fc.Arbitrary<Run> {
  const { rows = 1, buffers = ['float32'], chunk = 12, windows = true, cacheLength = 20, steps = 12 } = limits;
  const { headSizes = HEAD_SIZES } = limits;
  return fc
    .record({
      seed: fc.nat(1e6),
      layers: fc.array(fc.boolean(), { minLength: 1, maxLength: 3 }),
      window: fc.integer({ min: 1, max: 20 }),
      groups: fc.integer({ min: 1, max: 3 }),
      heads: fc.integer({ min: 1, max: 3 }),
      headSize: fc.constantFrom(...headSizes),
      rotated: fc.constantFrom('', 'halves', 'pairs'),
      blocks: fc.boolean(),
      cacheLength: fc.integer({ min: 1, max: cacheLength }),
      buffer: fc.constantFrom(...buffers),
      growth: fc.integer({ min: 1, max: 9 }),
      rows: fc.integer({ min: 1, max: rows }),
      sinks: fc.option(fc.nat(5), { nil: undefined }),
      recent: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
      prompts: fc.nat(3),
      steps: fc.array(fc.array(fc.integer({ min: 0, max: chunk }), { minLength: rows, maxLength: rows }), {
        minLength: 1,
        maxLength: steps,
      }),
    })
    .map(({ layers, window, groups, heads, headSize, rotated, blocks, prompts, steps, ...rest }) => {
      const { cacheLength: N, rows } = rest;
      const sinks = rest.sinks === undefined ? undefined : Math.min(rest.sinks, N - 1);
      const room = N - (sinks ?? Math.min(4, N - 1));
      const recent = rest.recent === undefined ? undefined : Math.min(rest.recent, room);
      return {
        ...rest,
        sinks,
        recent,
        shape: {
          groups,
          heads,
          headSize,
          blocks,
          windows: layers.map((full) => (full || !windows ? null : window)),
          rotation: rotated === '' ? null : fakeRotation(headSize, rotated === 'pairs'),
        },
        steps: steps.map((lengths, i) => {
          // A step without a token is none.
          const some = lengths.slice(0, rows);
          return {
            lengths: some.every((length) => length === 0) ? some.map(() => 1) : some,
            phase:
              i < prompts - 1 ? ('prompt' as const) : i === prompts - 1 ? ('prompt-end' as const) : ('decode' as const),
          };
        }),
      };
    });
}

/** A policy as the tests make it. */
export interface TestPolicy {
  readonly name: string;
  readonly options: Partial<AnyCacheOptions>;
  /** Whether it wants slots that lose something. */
  readonly lossy?: boolean;
  /** Whether it takes sinks and recent tokens as options. */
  readonly safe?: boolean;
}

/** Attention that fades. */
export const FADING = definePolicy({
  name: 'fading',
  needs: ['sums'],
  sinks: 1,
  score: ({ scores, weights: [sums], length }) => {
    for (let j = 0; j < length; j++) scores[j] = 0.5 * scores[j] + sums[j];
    return undefined;
  },
});

/** Every third position first, then whatever comes. */
const THIRDS = definePolicy({
  name: 'thirds',
  keep: ({ positions, length }, { budget }) => {
    const order = range(length).sort((a, b) => (positions[a] % 3) - (positions[b] % 3) || positions[b] - positions[a]);
    return order.slice(0, budget);
  },
});

/** Keeps less than it may, so that slots move. */
const FEW = definePolicy({
  name: 'few',
  keep: ({ positions, length }, { budget }) =>
    range(length)
      .filter((j) => (positions[j] * 7919) % 5 < 2)
      .slice(0, budget),
});

/** Groups with budgets of their own: each has three slots more than the one before it. */
const UNEVEN = definePolicy<{ cacheLength: number }>({
  name: 'uneven',
  needs: ['sums'],
  setup: ({ cacheLength }) => ({
    budget: (_, group) => cacheLength + 3 * group,
    score: ({ scores, weights: [sums], length }) => {
      for (let j = 0; j < length; j++) scores[j] = 0.5 * scores[j] + sums[j];
      return undefined;
    },
  }),
});

const table = (name: string, more: Partial<TestPolicy> = {}): TestPolicy => ({
  name,
  options: { policy: name },
  safe: true,
  ...more,
});

/** Every policy that evicts. */
export const EVICTING: readonly TestPolicy[] = [
  ...EVICTING_POLICIES.map((name) => table(name, { lossy: name === 'qh2o' })),
  table('mix(h2o, leverage)'),
  table('mix(keydiff, expected)'),
  table('mix(echo, leverage)'),
  table('ada(h2o)'),
  table('ada(qh2o)', { lossy: true }),
  table('ada(snapkv)'),
  table('ada(pyramid)'),
  table('ada(expected)'),
  table('ada(keydiff)'),
  table('ada(leverage)'),
  { name: 'routed', options: { policy: 'routed(leverage, h2o)' } },
  { name: 'routed mix', options: { policy: 'routed(mix(h2o, leverage), lastrec)' } },
  { name: 'routed echo', options: { policy: 'routed(mix(echo, leverage), h2o)' } },
  { name: 'own score', options: { policy: FADING }, safe: true },
  { name: 'own score, shared', options: { policy: FADING, ada: { floor: 0.5 } }, safe: true },
  { name: 'own keep', options: { policy: THIRDS }, safe: true },
  { name: 'own budgets', options: { policy: UNEVEN } },
  { name: 'own budgets, shared', options: { policy: UNEVEN, ada: { floor: 0.3 } } },
  { name: 'own keep of few', options: { policy: FEW }, safe: true },
];

export const EVERY: readonly TestPolicy[] = [{ name: 'dense', options: { policy: 'dense' } }, ...EVICTING];

/**
 * A policy's options in a cache of a shape.
 * @param length tokens of the sequence, for policies that distribute slots by it.
 */
export const optionsFor = (policy: TestPolicy, shape: CacheShape, length?: number): TestPolicy['options'] => ({
  ...policy.options,
  ...(policy.name.startsWith('routed') ? { table: anyTable(shape, 1), length } : {}),
});

/** The options of a cache for a run; what a policy can't be made with is mended. */
export function cacheOptions(run: Run, policy: TestPolicy, more: Partial<AnyCacheOptions> = {}): AnyCacheOptions {
  const { cacheLength, rows, sinks, recent } = run;
  const buffer = policy.lossy && run.buffer === 'float32' ? 'int8' : run.buffer;
  const snaps = /snapkv|pyramid/.test(policy.name);
  const room = cacheLength - (sinks ?? Math.min(4, cacheLength - 1));
  return {
    cacheLength,
    batch: rows,
    buffer,
    ...(policy.safe ? { sinks, ...(['lastrec', 'merge'].includes(policy.name) ? {} : { recent }) } : {}),
    ...(snaps ? { window: Math.min(4, room), kernel: 3 } : {}),
    ...(/expected/.test(policy.name) ? { horizon: 5, refresh: 1 } : {}),
    ...(/leverage/.test(policy.name) ? { refresh: 1 } : {}),
    ...(policy.name.startsWith('routed') ? { table: anyTable(fakeShape(run.shape), run.seed) } : {}),
    ...policy.options,
    ...more,
  };
}

/** The model and the cache of a run. */
export function openRun(run: Run, policy: TestPolicy, more: Partial<AnyCacheOptions> = {}) {
  const shape = fakeShape(run.shape);
  const model = new FakeModel(shape, run.seed);
  return { model, cache: createCache(shape, cacheOptions(run, policy, more), run.growth) };
}

/** Tokens of a row from a position on: any will do, as long as rows differ. */
export function tokensFrom(row: number, position: number, count: number): number[] {
  return range(count).map((t) => (row * 7919 + (position + t) * 104729) % 997);
}

/** The tokens of a run's step, as the cache stands. */
export function stepTokens(cache: KVCache, { lengths }: RunStep): number[][] {
  return lengths.map((count, row) => tokensFrom(row, cache.length(row), count));
}

export interface CheckOptions {
  /** Where keys are no more where they were computed for. */
  readonly moved?: boolean;
}

/**
 * What must hold of every cache after every step: positions are distinct, of the past and within the window, no group
 * holds more than it may, and every slot's key and value are the very ones that were computed for its position.
 */
export function checkCache(model: FakeModel, cache: KVCache, { moved = false }: CheckOptions = {}): void {
  const { shape } = model;
  for (const [name, table] of cache.store.tables) {
    for (const row of range(cache.batch))
      for (const g of range(table.groups))
        if (table.filled[table.groupIndex(row, g)] > table.capacityOf(g))
          expect.fail(`${name} holds more than its memory`);
    const slots = cache.batch * range(table.groups).reduce((sum, g) => sum + table.capacityOf(g), 0);
    if (table.positions.data.length !== slots) expect.fail(`${name} has an odd size`);
  }
  for (const l of range(shape.nLayer)) {
    const { groups: G, keySize, valueSize } = shape.layers[l];
    const feedbackOf = (g: number) => cache.rules.layout.feedbackOf?.(l, g) ?? null;
    const probe = createBuffer(cache.buffer, 1, { groups: G, keySize, valueSize }, shape.memory, feedbackOf);
    const [key, value] = [new Float32Array(keySize), new Float32Array(valueSize)];
    const stored = (half: 'keys' | 'values', g: number, exact: Float32Array) => {
      const out = new Float32Array(exact.length);
      probe[half].preview(g, exact, 0, out);
      return out;
    };
    const table = cache.store.tableOf(l)!;
    const shared = 'ada' in cache.options && Boolean(cache.options.ada);
    for (const row of range(cache.batch)) {
      const tokens = cache.tokens(row);
      if (tokens.length !== cache.length(row)) expect.fail('tokens and length differ');
      let total = 0;
      let budgets = 0;
      for (const g of range(G)) {
        const budget = budgetOf(cache, l, row, g);
        budgets += budget;
        const positions = cache.tokenPositions(l, row, g);
        const where = `layer ${l}, row ${row}, group ${g}: [${positions}] of ${tokens.length}`;
        if (positions.some((p, i) => (i > 0 && p <= positions[i - 1]) || p < 0 || p >= tokens.length))
          expect.fail(where);
        const { window } = shape.layers[l];
        if (window !== null && positions.some((p) => p <= tokens.length - window)) expect.fail(`${where}, hidden`);
        if (!shared && positions.length > budget) expect.fail(`${where} exceed ${budget}`);
        total += positions.length;
        checkGroup(cache, l, row, g);
        const tableGroup = table.groups === 1 ? 0 : g;
        for (let slot = 0; slot < positions.length; slot++) {
          const at = table.positions.at(row, tableGroup, slot);
          const position = table.positions.data[at];
          if (isMerged(table, tableGroup, at)) continue;
          cache.store.buffers[l]!.readValue({ row, group: g, slot }, value);
          const exact = model.value(l, g, position, tokens[position]);
          if (!same(value, stored('values', g, exact))) expect.fail(`${where}: another value at ${position}`);
          if (moved) continue;
          cache.store.buffers[l]!.readKey({ row, group: g, slot }, key);
          const exactKey = model.key(l, g, position, tokens[position]);
          if (!same(key, stored('keys', g, exactKey))) expect.fail(`${where}: another key at ${position}`);
        }
      }
      if (total > budgets) expect.fail(`layer ${l}, row ${row}: ${total} slots exceed ${budgets}`);
    }
  }
}

/** Slots of a layer's group as the row stands, but for a pyramid that is whole as long as all of a sequence fits. */
export function budgetOf(cache: KVCache, l: number, row: number, group: number): number {
  const table = cache.store.tableOf(l)!;
  const budget = cache.store.limits.at(table, cache.length(row))[table.groups === 1 ? 0 : group];
  const whole = cache.policy === 'pyramid' && cache.length(row) <= cache.cacheLength;
  return whole ? Math.max(budget, cache.cacheLength) : budget;
}

/** Whether a slot stands for several tokens: then its key and value are those of none of them. */
export const isMerged = ({ merges, slotState }: SlotTable, group: number, at: number): boolean =>
  merges[group] && slotState[0].data[at] > 0;

/** What the graph is told of slots agrees with what they hold. */
function checkGroup(cache: KVCache, l: number, row: number, group: number): void {
  const table = cache.store.tableOf(l)!;
  const g = table.groups === 1 ? 0 : group;
  const filled = table.filled[table.groupIndex(row, g)];
  for (let slot = 0; slot < table.capacityOf(g); slot++) {
    const at = table.positions.at(row, g, slot);
    const used = slot < filled;
    if ((table.positions.data[at] !== EMPTY_SLOT) !== used)
      expect.fail(`layer ${l}, row ${row}, group ${g}: slot ${slot} of ${filled} is not what it is said to be`);
    if (!used && table.slotState.some(({ data }) => data[at] !== 0))
      expect.fail(`slot ${slot} is free, but has a score`);
  }
}

export function same(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

/** Everything that can be told apart of a cache, to compare two. Memory that is not in use does not count. */
export function contentOf(cache: KVCache): unknown[] {
  const tables = [...cache.store.tables.values()];
  // Rope positions are the same whether they are memory of their own or not.
  for (const table of tables) table.keepRopePositions();
  const content = range(cache.batch).map((row) => ({
    tokens: cache.tokens(row),
    ropePosition: cache.ropePosition(row),
    pending: cache.pending(row),
    arrays: rowArrays(cache, row).map((array) => array.slice()),
  }));
  for (const table of tables) table.trimRopePositions();
  return content;
}

/**
 * Fails where two things differ in any bit. What is compared here is large: `toEqual` would take a minute for all of
 * it.
 */
export function expectSame(actual: unknown, expected: unknown, path = ''): void {
  if (Object.is(actual, expected)) return;
  if (typeof actual !== 'object' || typeof expected !== 'object' || !actual || !expected)
    expect.fail(`${path}: ${actual} instead of ${expected}`);
  if (ArrayBuffer.isView(actual) && ArrayBuffer.isView(expected)) {
    if (!same(actual as Float32Array, expected as Float32Array))
      expect.fail(`${path}: [${actual}] instead of [${expected}]`);
    return;
  }
  const [a, b] = [Object.entries(actual), Object.entries(expected)];
  if (a.length !== b.length) expect.fail(`${path}: ${a.length} entries instead of ${b.length}`);
  for (const [i, [key, value]] of a.entries()) {
    if (key !== b[i][0]) expect.fail(`${path}: ${key} instead of ${b[i][0]}`);
    expectSame(value, b[i][1], `${path}.${key}`);
  }
}

/** The same runs every time; another seed may be named to look further. */
export function check<T>(property: fc.IProperty<T>, numRuns: number): void {
  fc.assert(property, { numRuns, seed: SEED });
}

const SEED = Number(process.env['KEYHOLD_TEST_SEED'] ?? 1);
