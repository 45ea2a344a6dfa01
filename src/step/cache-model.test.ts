/**
 * Caches on real graphs. (What can be tested without a model is tested in kvcache/.)
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { EVERY, FADING, optionsFor } from '../../test/support/cache-runs.ts';
import { firstSlots } from '../../test/support/family-cases.ts';
import { furthest } from '../../test/support/furthest.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { openCheckpointFolder } from '../checkpoint/open-node.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { BufferKind } from '../kvcache/buffers.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { dense } from '../kvcache/policies/dense.ts';
import { type AnyCacheOptions, POLICIES } from '../kvcache/policies.ts';
import type { Policy, PolicyEntry } from '../kvcache/policy/policy.ts';
import { defaultEngine } from '../load/engines-node.ts';
import { loadModel } from '../node.ts';
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';

const ROOT = join(import.meta.dirname, '../..');
const cacheDir = await tempFolder('cache-model');
const models = new Map<string, Promise<LanguageModel>>();
afterAll(async () => {
  for (const model of models.values()) await (await model).dispose();
});

/** A family's fixture, or the small model, loaded once. */
function open(name: string): Promise<LanguageModel> {
  const folder = name === 'tiny' ? join(ROOT, 'models/tiny') : join(ROOT, 'test/fixtures/families', name);
  const known = models.get(name) ?? loadModel(folder, { weights: 'float32', cacheDir, threads: 1 });
  models.set(name, known);
  return known;
}

/** Tokens that do not repeat soon; any vocabulary has them. */
const text = (length: number, seed = 1): number[] => range(length).map((t) => (t * t * 7 + t * 13 + seed * 29) % 89);

/** Takes chunks in one after the other; the logits of all tokens, in order. */
async function run(model: LanguageModel, cache: KVCache, tokens: readonly number[], chunks: readonly number[]) {
  const all: number[] = [];
  let at = 0;
  for (const [i, length] of chunks.entries()) {
    const phase = i === chunks.length - 1 ? 'prompt-end' : 'prompt';
    const { logits } = await model.step(cache, [tokens.slice(at, at + length)], { logits: 'all', phase });
    for (const x of logits) all.push(x);
    at += length;
  }
  expect(at).toBe(tokens.length);
  return all;
}

const ones = (n: number): number[] => range(n).map(() => 1);

/** Those of some options that a policy takes. */
const takenBy = (policy: string, options: object): object => {
  const { options: known } = POLICIES[policy.replace(/^ada\((.*)\)$/, '$1')];
  return Object.fromEntries(Object.entries(options).filter(([name]) => name in known));
};

/** A policy that decides by itself, outside of the frame. Layers share their slots. */
const bare = (name: string, rules: Pick<Policy, 'overflows' | 'select'>): PolicyEntry => ({
  name,
  summary: '',
  options: {},
  create: (setup) => ({ ...dense.create(setup), evicts: true, ...rules }),
});

describe('with room for all, every policy gives the logits of the dense cache', () => {
  it.each(['llama', 'gemma2', 'mistral', 'tiny'])('%s', async (name) => {
    const model = await open(name);
    const tokens = text(30);
    const chunks = [11, 1, 1, 7, 10];
    for (const buffer of ['float32', 'int8'] as const) {
      const dense = await run(model, model.createCache({ policy: 'dense', cacheLength: 30, buffer }), tokens, chunks);
      for (const each of EVERY) {
        const { name: policy, lossy } = each;
        if (lossy && buffer === 'float32') continue;
        const cache = model.createCache({
          cacheLength: 30,
          buffer,
          ...optionsFor(each, model.createCache().shape, 30),
        });
        const logits = await run(model, cache, tokens, chunks);
        // Gathered slots are multiplied with queries as they are, blocks in place with queries in 8 bits.
        const isExact = [...cache.store.tables.values()].some(({ gathers }) => gathers);
        const bound = buffer === 'float32' ? 1e-4 : isExact ? 0.03 : 3e-4;
        expect(furthest(logits, dense), `${policy} ${buffer}`).toBeLessThan(bound);
        expect(cache.stats().evicted).toEqual([0]);
      }
    }
  });
});

describe('trap 8: sliding windows', () => {
  it('lastrec with chunks of one token is a sliding window, on the real graph (and trap 5)', async () => {
    const folder = join(ROOT, 'test/fixtures/families/mistral-nowindow');
    const checkpoint = await openCheckpointFolder(folder);
    const config = { ...checkpoint.config, sliding_window: 10 };
    await using windowed = await loadModel({ ...checkpoint, config }, { weights: 'float32', cacheDir, threads: 1 });
    const model = await open('mistral-nowindow');
    const tokens = text(40);
    const lastrec = model.createCache({ policy: 'lastrec', cacheLength: 9, sinks: 0 });
    const dense = windowed.createCache({ policy: 'dense', cacheLength: 40 });
    expect(
      furthest(await run(model, lastrec, tokens, ones(40)), await run(windowed, dense, tokens, ones(40))),
    ).toBeLessThan(1e-5);
    expect(dense.tokenPositions(0)).toEqual(lastrec.tokenPositions(0));
    // The window is one of positions: gaps do not make it reach further back.
    const whole = await run(windowed, windowed.createCache({ policy: 'dense', cacheLength: 40 }), tokens, [40]);
    expect(
      furthest(
        await run(windowed, windowed.createCache({ policy: 'dense', cacheLength: 40 }), tokens, [3, 20, 1, 16]),
        whole,
      ),
    ).toBeLessThan(1e-5);
    await checkpoint.close();
  });

  it('a window layer that holds far and near tokens sees them by position', async () => {
    const model = await open('mistral');
    const tokens = text(20);
    const half = bare('half', {
      overflows: ({ groups: [group] }) =>
        range(group.length).some((j) => group.keep[j] === 1 && group.positions[j] % 2 === 1),
      select: ({ groups }) => {
        for (const group of groups)
          for (let j = 0; j < group.length; j++) if (group.positions[j] % 2 === 1) group.evict(j);
      },
    });
    const cache = model.createCache({ policy: half, cacheLength: 40 });
    await model.step(cache, [tokens], { logits: 'none' });
    expect(cache.tokenPositions(0)).toEqual([14, 16, 18]);
    await model.step(cache, [text(1)], { logits: 'none' });
    expect(cache.tokenPositions(0)).toEqual([14, 16, 18, 20]);
    await model.step(cache, [text(1)], { logits: 'none' });
    // The next query is at 22 and sees from 15 on.
    expect(cache.tokenPositions(0)).toEqual([16, 18, 20]);
  });
});

describe('positions', () => {
  /** Forgets all that it holds while it is told to, so that a row begins anew at a later position. */
  let forgets = true;
  const forgetful = bare('forgetful', {
    overflows: ({ groups }) => forgets && groups.some((group) => group.kept > 0),
    select: ({ groups }) => {
      for (const group of groups) for (let j = 0; j < group.length; j++) group.evict(j);
    },
  });

  it.each([
    'llama',
    'gemma2',
    'gpt_neox-odd',
    'gptj',
    'llama-rope-yarn',
    'llama-rope-llama3',
    'phi4-partial',
    'bloom',
    'cohere2',
  ])('trap 5: %s attends alike at position 0 and at position P', async (name) => {
    const model = await open(name);
    const tokens = text(24);
    const chunks = [9, 1, 1, 13];
    const first = await run(model, model.createCache({ policy: 'dense', cacheLength: 64 }), tokens, chunks);
    for (const start of [1, 57, 1000]) {
      forgets = true;
      const later = model.createCache({ policy: forgetful, cacheLength: 5000, rebase: false });
      await model.step(later, [text(start, 2)], { logits: 'none' });
      expect(later.length()).toBe(start);
      expect(later.tokenPositions(0)).toEqual([]);
      forgets = false;
      expect(furthest(await run(model, later, tokens, chunks), first)).toBeLessThan(start > 100 ? 2e-3 : 2e-4);
      expect(later.tokenPositions(model.config.nLayer - 1).at(-1)).toBe(start + 23);
    }
  });

  it.each(['llama-rope-dynamic', 'phi3-longrope', 'llama'])(
    'trap 9: what was asked for does not change the rotation: %s',
    async (name) => {
      const model = await open(name);
      const written = async (maxNewTokens: number) => {
        const run = model.generate(text(6), {
          maxNewTokens,
          temperature: 0,
          eosTokenIds: [],
          cache: { cacheLength: 200 },
        });
        return (await run.result()).tokens;
      };
      const [few, many] = [await written(3), await written(60)];
      expect(few.map(({ token, logprob }) => [token, logprob])).toEqual(
        many.slice(0, 3).map(({ token, logprob }) => [token, logprob]),
      );
      // Nor does the length of the cache.
      const [a, b] = [40, 4000].map((cacheLength) => model.createCache({ policy: 'dense', cacheLength }));
      const [c, d] = [await run(model, a, text(30), [10, 10, 10]), await run(model, b, text(30), [10, 10, 10])];
      // Other shapes may go through other kernels: only the rounding may differ.
      expect(furthest(c, d)).toBeLessThan(2e-5);
    },
  );
});

describe('trap 6: rows of different lengths, padded, are as if alone', () => {
  const cases = ['h2o', 'tova', 'keydiff', 'ada(snapkv)', 'expected'].flatMap((policy) =>
    (['float32', 'int8'] as const).map((buffer) => [policy, buffer] as const),
  );

  it.each(cases)('%s in %s', async (policy, buffer) => {
    for (const name of ['llama', 'gemma2', 'bloom']) {
      const model = await open(name);
      const own = takenBy(policy, { window: 4, horizon: 16, refresh: 1 });
      const options = { policy, buffer, cacheLength: 10, sinks: 1, ...own };
      const cache = model.createCache({ ...options, batch: 3 });
      const alone = range(3).map(() => model.createCache(options));
      const V = model.config.vocabSize;
      // No row has a single token beside longer ones: for single queries 8 bits are read otherwise.
      for (const [i, counts] of [
        [9, 2, 5],
        [3, 12, 2],
        [1, 1, 1],
        [0, 1, 1],
        [6, 0, 2],
        [1, 1, 0],
      ].entries()) {
        const chunk = counts.map((count, row) => text(count, 10 * i + row));
        const { logits } = await model.step(cache, chunk, { logits: 'all' });
        let at = 0;
        for (const [row, count] of counts.entries()) {
          if (count === 0) continue;
          const single = await model.step(alone[row], [chunk[row]], { logits: 'all' });
          expect(furthest(logits.subarray(at, at + count * V), single.logits)).toBeLessThan(2e-5);
          at += count * V;
          for (const l of range(model.config.nLayer))
            for (const g of range(firstSlots(model.config).groups)) {
              expect(cache.tokenPositions(l, row, g)).toEqual(alone[row].tokenPositions(l, 0, g));
              expect(furthest(cache.scores(l, row, g)!, alone[row].scores(l, 0, g)!)).toBeLessThan(3e-4);
            }
        }
        expect(at).toBe(logits.length);
      }
    }
  });

  it('a padding token can be anything', async () => {
    const model = await open('llama');
    const cache = model.createCache({ policy: 'h2o', cacheLength: 8, batch: 2 });
    await model.step(cache, [text(12), text(3)], { logits: 'none' });
    expect(cache.tokens(1)).toEqual(text(3));
    expect(cache.tokenPositions(0, 1)).toEqual([0, 1, 2]);
    expect(cache.ropePosition(1)).toBe(3);
  });
});

describe('trap 7: a chunk attends to its own exact keys', () => {
  it.each(['float16', 'int8', 'int4'] as const)(
    '%s: the first chunk does not know how it will be stored',
    async (buffer) => {
      for (const name of ['tiny', 'llama', 'gemma2']) {
        const model = await open(name);
        const exact = await run(model, model.createCache(), text(25), [25]);
        const cache = model.createCache({ buffer });
        // Rotated queries and keys have the same products within the rounding of float32.
        expect(furthest(await run(model, cache, text(25), [25]), exact)).toBeLessThan(
          buffer === 'float16' ? 1e-5 : 1e-4,
        );
      }
    },
  );
});

describe('slots in whole numbers', () => {
  const cases: [string, BufferKind, number][] = [
    ['tiny', 'int8', 0.02],
    ['tiny', 'int4', 0.02],
    ['llama', 'int8', 0.01],
    ['llama', 'int5', 0.01],
    ['llama', 'int4', 0.01],
    ['llama-headdim', 'int8', 0.01],
    ['llama-headdim', 'int4', 0.01],
    ['qwen3', 'int8', 0.01],
    ['qwen3', 'int4', 0.01],
    ['qwen3', 'int5', 0.01],
    ['gpt_neox-head85', 'int8', 0.01],
    ['gemma2', 'int8', 0.01],
  ];

  it.each(cases)(
    '%s, %s: read one query at a time as in a chunk, but for the rounding of the query',
    async (name, buffer, part) => {
      const model = await open(name);
      const V = model.config.vocabSize;
      for (const policy of ['dense', 'h2o']) {
        const cache = model.createCache({ policy, buffer, cacheLength: policy === 'dense' ? 100 : 40 });
        await run(model, cache, text(60), [25, 35]);
        let worst = 0;
        for (const token of text(6, 3)) {
          const chunk = (await model.step(cache.fork(), [[token, 1]], { logits: 'all' })).logits.subarray(0, V);
          const single = (await model.step(cache, [[token]])).logits;
          worst = Math.max(worst, furthest(single, chunk) / spread(chunk));
        }
        expect(worst).toBeLessThan(part);
      }
    },
  );

  const stored = cases.map(([name, buffer]) => [name, buffer] as const);

  it.each([...stored, ['llama', 'float16'] as const, ['gemma2', 'int4'] as const])(
    '%s, %s: are read as what they stand for',
    async (name, buffer) => {
      const model = await open(name);
      const { nLayer, vocabSize } = model.config;
      const { groups: nQueryGroups } = firstSlots(model.config);
      const [bytes, floats] = [model.createCache({ buffer }), model.createCache()];
      for (const cache of [bytes, floats]) await run(model, cache, text(60), [25, 35]);
      // The same numbers, in float32.
      for (const l of range(nLayer)) {
        const table = floats.store.tableOf(l)!;
        for (const slot of range(table.filled[0])) {
          const position = table.positions.data[slot];
          for (const group of range(nQueryGroups)) {
            const { key, value } = bytes.slot(l, position, 0, group)!;
            floats.store.buffers[l]!.write({ row: 0, group, slot }, 1, key, 0, value, 0);
          }
        }
      }
      // ONNX Runtime reads chunks exactly and rounds single queries first; ggml rounds queries to the format of the
      // slots.
      const rounded = buffer === 'float16' ? 1e-3 : 0.02;
      const exact = defaultEngine() === 'onnx' ? 2e-5 : rounded;
      const several = async (cache: KVCache) => (await model.step(cache.fork(), [[3, 1, 7]], { logits: 'all' })).logits;
      const [a, b] = [await several(bytes), await several(floats)];
      expect(furthest(a, b) / spread(b.subarray(0, vocabSize))).toBeLessThan(exact);
      const single = async (cache: KVCache) => (await model.step(cache.fork(), [[3]])).logits;
      const [c, d] = [await single(bytes), await single(floats)];
      expect(furthest(c, d) / spread(d)).toBeLessThan(buffer === 'float16' ? exact : rounded);
    },
  );

  it.each(['llama', 'llama-headdim', 'qwen3', 'gpt_neox-head85', 'tiny'])('%s: 8 bits lose little', async (name) => {
    const model = await open(name);
    const [exact, bytes] = [model.createCache(), model.createCache({ buffer: 'int8' })];
    const tokens = text(50);
    const [a, b] = [
      await run(model, exact, tokens, [20, ...ones(30)]),
      await run(model, bytes, tokens, [20, ...ones(30)]),
    ];
    expect(furthest(a, b) / spread(a)).toBeLessThan(0.03);
  });

  /** How far logits lie apart. */
  function spread(logits: ArrayLike<number>): number {
    let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let i = 0; i < logits.length; i++) {
      least = Math.min(least, logits[i]);
      most = Math.max(most, logits[i]);
    }
    return most - least;
  }
});

describe('going on as if nothing had been, on the real graph', () => {
  const policies: Partial<AnyCacheOptions>[] = [
    { policy: 'h2o' },
    { policy: 'h2o', buffer: 'int8' },
    { policy: 'ada(snapkv)', buffer: 'int4', window: 4 },
    { policy: 'expected', buffer: 'float16' },
    { policy: 'lastrec', buffer: 'int8' },
    { policy: FADING },
  ];

  it.each(policies)('%j: fork, truncate, snapshot: bit for bit', async (options) => {
    const model = await open('llama');
    const cache = model.createCache({ ...options, cacheLength: 12 });
    await run(model, cache, text(30), [20, 10]);
    const rest = async (one: KVCache) => {
      const all: number[] = [];
      for (const count of [1, 1, 6, 1]) for (const x of (await model.step(one, [text(count, 5)])).logits) all.push(x);
      return all;
    };
    const twin = cache.fork();
    const { policy: made } = options;
    const policy = typeof made === 'object' && 'create' in made ? made : undefined;
    const restored = await model.restore(await model.snapshot(cache), { policy });
    const wanted = await rest(cache.fork());
    await model.step(cache, [text(9, 3)]);
    cache.truncate(30);
    for (const one of [cache, twin, restored]) expect(await rest(one)).toEqual(wanted);
  });

  it('a part of the last chunk is taken back after another cache had chunks, whose arrays are written anew', async () => {
    const model = await open('tiny');
    const options = { policy: 'lastrec', cacheLength: 120 };
    const [a, b, wanted] = range(3).map(() => model.createCache(options));
    for (const [cache, seed] of [
      [a, 1],
      [a, 2],
      [b, 3],
      [b, 4],
      [b, 5],
    ] as const)
      await model.step(cache, [text(100, seed)], { logits: 'none' });
    a.truncate(150);
    for (const tokens of [text(100, 1), text(100, 2).slice(0, 50)])
      await model.step(wanted, [tokens], { logits: 'none' });
    const [one, two] = [await model.step(a, [text(100, 6)]), await model.step(wanted, [text(100, 6)])];
    expect(furthest(one.logits, two.logits)).toBeLessThan(1e-4);
  });

  it('a part of a chunk is taken back where the queries were told apart', async () => {
    const model = await open('gemma2');
    for (const policy of ['h2o', 'tova', 'snapkv', 'qh2o', 'ada(h2o-vlen)', 'lastrec']) {
      const options = { policy, cacheLength: 10, buffer: policy === 'qh2o' ? 'int8' : 'float32' } as const;
      const [cache, short] = [model.createCache(options), model.createCache(options)];
      for (const one of [cache, short]) await model.step(one, [text(20)], { logits: 'none' });
      const next = text(6, 2);
      await model.step(cache, [next], { logits: 'none', eachQuery: true });
      cache.truncate(22);
      await model.step(short, [next.slice(0, 2)], { logits: 'none' });
      for (const l of range(model.config.nLayer))
        for (const g of range(firstSlots(model.config).groups)) {
          expect(cache.tokenPositions(l, 0, g)).toEqual(short.tokenPositions(l, 0, g));
          const [a, b] = [cache.scores(l, 0, g), short.scores(l, 0, g)];
          if (a && b) expect(furthest(a, b)).toBeLessThan(1e-4);
        }
      const [a, b] = [await model.step(cache, [[5]]), await model.step(short, [[5]])];
      expect(furthest(a.logits, b.logits)).toBeLessThan(1e-4);
    }
    const cache = model.createCache({ policy: 'h2o', cacheLength: 10 });
    await model.step(cache, [text(6)]);
    expect(() => cache.truncate(3)).toThrow(InputError);
  });
});

describe('rebase on the real graph', () => {
  it.each(['tiny', 'llama', 'gemma2', 'gptj', 'phi-odd', 'llama-rope-yarn', 'llama-rope-linear', 'gpt_neox-odd'])(
    '%s: keys are those computed at their new places',
    async (name) => {
      const model = await open(name);
      const cache = model.createCache({ policy: 'lastrec', cacheLength: 12, sinks: 3, rebase: false });
      const long = name === 'tiny' ? range(8).map(() => 400) : [50, 50];
      const tokens = text(long.reduce((a, b) => a + b, 0));
      let at = 0;
      for (const count of long) {
        await model.step(cache, [tokens.slice(at, at + count)], { logits: 'none' });
        at += count;
      }
      cache.rebase();
      expect(cache.ropePosition()).toBe(12);
      // Keys of the first layer follow from their tokens alone.
      const fresh = model.createCache({ policy: 'lastrec', cacheLength: 12, sinks: 3 });
      const held = cache.tokenPositions(model.config.nLayer - 1);
      const full = held.length === 12 ? held : cache.tokenPositions(1);
      await model.step(fresh, [full.map((position) => tokens[position])], { logits: 'none' });
      for (const g of range(firstSlots(model.config).groups))
        for (const position of cache.tokenPositions(0, 0, g)) {
          const moved = cache.slot(0, position, 0, g)!;
          const wanted = fresh.slot(0, full.indexOf(position), 0, g)!;
          const size = Math.max(1, ...wanted.key.map(Math.abs));
          expect(furthest(moved.key, wanted.key)).toBeLessThan(1e-5 * size);
          expect(furthest(moved.value, wanted.value)).toBeLessThan(1e-5);
        }
    },
  );

  it.each(['llama', 'gemma2', 'mistral', 'gptj', 'llama-rope-yarn', 'bloom'])(
    '%s: where all move by the same distance nothing changes, for windows see positions (trap 8)',
    async (name) => {
      const model = await open(name);
      const cache = model.createCache({ policy: 'lastrec', cacheLength: 20, sinks: 0 });
      await run(model, cache, text(60), [30, 30]);
      const moved = cache.fork();
      moved.rebase();
      expect(cache.ropePosition()).toBe(60);
      expect(moved.ropePosition()).toBe(name === 'mistral' ? 7 : 20);
      for (const count of [1, 4, 1]) {
        const [a, b] = [await model.step(cache, [text(count)]), await model.step(moved, [text(count)])];
        expect(furthest(a.logits, b.logits)).toBeLessThan(2e-4);
      }
    },
  );

  it('a stream passes the context many times over, under any policy', async () => {
    const model = await open('llama');
    for (const policy of ['lastrec', 'h2o', 'ada(keydiff)', 'pyramid']) {
      const cache = model.createCache({ policy, cacheLength: 24, sinks: 2, ...takenBy(policy, { window: 8 }) });
      let moves = 0;
      for (let i = 0; i < 40; i++) {
        const before = cache.ropePosition();
        const { logits } = await model.step(cache, [text(15, i)]);
        expect(logits.every(Number.isFinite)).toBe(true);
        if (cache.ropePosition() < before + 15) moves++;
        expect(cache.ropePosition()).toBeLessThanOrEqual(model.config.contextLength);
      }
      expect(cache.length()).toBe(600);
      expect(moves).toBeGreaterThan(4);
    }
  });

  it('the small model reads on beyond its context without its loss rising', async () => {
    const model = await open('tiny');
    const words = await readFile(join(ROOT, 'models/tiny/validation.txt'), 'utf8');
    const tokens = model.tokenizer.encode(words).slice(0, 5632);
    const cache = model.createCache({ policy: 'lastrec', cacheLength: 256, sinks: 4 });
    const V = model.config.vocabSize;
    const loss: number[] = [];
    for (let at = 0; at < tokens.length; at += 128) {
      const chunk = tokens.slice(at, at + 128);
      const { logits } = await model.step(cache, [chunk], { logits: 'all', phase: 'prompt' });
      for (const [i] of chunk.entries()) {
        const next = tokens[at + i + 1];
        if (next !== undefined) loss.push(lossOf(logits.subarray(i * V, (i + 1) * V), next));
      }
    }
    expect(tokens.length).toBeGreaterThan(model.config.contextLength + 1500);
    expect(cache.ropePosition()).toBeLessThan(model.config.contextLength);
    expect(cache.tokenPositions(0).slice(0, 4)).toEqual([0, 1, 2, 3]);
    const mean = (from: number, to: number) => loss.slice(from, to).reduce((a, b) => a + b, 0) / (to - from);
    const [before, after] = [mean(2560, 4096), mean(4096, 5631)];
    expect(after).toBeLessThan(1.05 * before);
  });

  function lossOf(logits: Float32Array, token: number): number {
    const max = logits.reduce((a, b) => Math.max(a, b));
    return max + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - max), 0)) - logits[token];
  }

  it.each(['gpt2', 'opt', 'llama-rope-dynamic', 'phi3-longrope'])(
    '%s: positions that can not be moved are refused',
    async (name) => {
      const model = await open(name);
      const cache = model.createCache({ policy: 'lastrec', cacheLength: 8 });
      await model.step(cache, [text(20)]);
      expect(cache.canRebase).toBe(false);
      expect(() => cache.rebase()).toThrow(InputError);
      expect(() => cache.rebase()).toThrow(/this model's keys can't be moved/);
      expect(() => model.createCache({ policy: 'expected' })).toThrow(
        /needs rotations that don't depend on the length/,
      );
    },
  );

  it('learned positions end where they end, whatever was evicted', async () => {
    const model = await open('gpt2');
    const { contextLength } = model.config;
    const cache = model.createCache({ policy: 'lastrec', cacheLength: 8 });
    await model.step(cache, [text(contextLength - 2)], { logits: 'none' });
    await expect(model.step(cache, [text(3)])).rejects.toThrow(InputError);
    await expect(model.step(cache, [text(3)])).rejects.toThrow(/has learned \d+ positions, and row 0 would reach/);
    expect(cache.length()).toBe(contextLength - 2);
    await model.step(cache, [text(2)]);
  });
});
