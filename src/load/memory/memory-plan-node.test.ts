import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { caseFolder, configJson } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { ConcreteGraph } from '../../backends/ggml/graph/concrete-graph.ts';
import { ggmlCodec } from '../../backends/ggml/weights/weight-codec.ts';
import { GgmlWeights } from '../../backends/ggml/weights/weights.ts';
import { openCheckpoint, planModel, writeGguf } from '../../exports/checkpoint-node.ts';
import { readConfig } from '../../families/read-config.ts';
import type { AnyCacheOptions } from '../../kvcache/policies.ts';
import { loadModel } from '../../node.ts';
import { range } from '../../util/numbers.ts';
import type { Param } from '../../weights/types.ts';
import { keptFormats } from '../weights/kept-formats.ts';
import { ggmlMemory } from './ggml-memory-node.ts';
import { planMemoryOf } from './memory-plan.ts';
import { planMemory } from './memory-plan-node.ts';

const ROOT = join(import.meta.dirname, '../../..');
const TINY = join(ROOT, 'models/tiny');
const cacheDir = await tempFolder('memory-plan');

async function tinyConfig() {
  return readConfig(JSON.parse(await readFile(join(TINY, 'config.json'), 'utf8'))).config;
}

describe('the memory of a step in the ggml engine', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** The most that a graph of a run took. */
  async function runBytes(folder: string, cache: Partial<AnyCacheOptions>, tokens: number, chunkLength: number) {
    const made = vi.spyOn(ConcreteGraph, 'make');
    const model = await loadModel(folder, { weights: 'float32', engine: 'ggml', cacheDir, threads: 1 });
    try {
      const prompt = range(tokens).map((i) => 1 + (i % 40));
      await model.prefill(model.createCache(cache), prompt, { chunkLength });
      return { config: model.config, bytes: Math.max(...made.mock.results.map(({ value }) => value.bytes as number)) };
    } finally {
      await model.dispose();
    }
  }

  const kinds: [string, string][] = [
    ['attention', 'llama'],
    ['a mixture of experts', 'mixtral'],
    ['sliding windows', 'gemma3'],
    ['heads of several sizes', 'gemma4-e2b'],
    ['a gated delta net', 'qwen3_5'],
    ['Mamba-2', 'mamba2'],
    ['latent attention', 'deepseek_v2'],
    ['short convolutions', 'lfm2'],
  ];

  it.each(kinds)('of %s (%s) is what its run takes', async (_, family) => {
    const cache = { policy: 'lastrec', cacheLength: 16 };
    const { config, bytes } = await runBytes(caseFolder(family), cache, 48, 16);
    const { workspaceParts } = planMemory(config, { contextLength: 48, engine: 'ggml', cache, chunkLength: 16 });
    expect(Math.abs(workspaceParts.graph / bytes - 1)).toBeLessThan(0.05);
  });

  it.each<[boolean, Partial<AnyCacheOptions>]>([
    [true, { policy: 'dense', cacheLength: 400 }],
    [true, { policy: 'lastrec', cacheLength: 400 }],
    [false, { policy: 'lastrec', cacheLength: 100 }],
    [false, { policy: 'dense', cacheLength: 400, buffer: 'int8' }],
    [true, { policy: 'h2o', cacheLength: 400 }],
    [false, { policy: 'keydiff', cacheLength: 400 }],
  ])('has no copies of a chunk where the slots alone hold it: %s under %j', async (isPlaced, options) => {
    const model = await loadModel(TINY, { weights: 'float32', engine: 'ggml', cacheDir, threads: 1 });
    const cache = model.createCache(options);
    await model.prefill(
      cache,
      range(200).map((i) => 1 + (i % 40)),
      { chunkLength: 100 },
    );
    expect(cache.rows[0].last!.isPlaced).toBe(isPlaced);
    const plan = planMemory(model.config, { contextLength: 200, engine: 'ggml', cache: options, chunkLength: 100 });
    expect(plan.workspaceParts.chunk === 0).toBe(isPlaced);
    await model.dispose();
  });

  it.each<Partial<AnyCacheOptions>>([
    { policy: 'dense', cacheLength: 400 },
    { policy: 'h2o', cacheLength: 100 },
    { policy: 'echo', cacheLength: 100 },
    { policy: 'ada(echo)', cacheLength: 100 },
    { policy: 'h2o-max', cacheLength: 100, buffer: 'int8' },
    { policy: 'expected', cacheLength: 100, buffer: 'float16' },
  ])('under %j is what its run takes', async (cache) => {
    const { config, bytes } = await runBytes(TINY, cache, 300, 100);
    const { workspaceParts } = planMemory(config, { contextLength: 300, engine: 'ggml', cache, chunkLength: 100 });
    expect(Math.abs(workspaceParts.graph / bytes - 1)).toBeLessThan(0.12);
  });
});

describe('the plan for the ggml engine', () => {
  it('adds up, and says which engine it is for', async () => {
    const config = await tinyConfig();
    for (const weights of ['float32', 'int8', 'int4', 'q4_0', 'f16', 'q6_k'] as const) {
      const plan = planMemory(config, { contextLength: 500, weights, engine: 'ggml' });
      const { private: copies, mapped } = plan.resident[weights];
      const parts = [plan.runtime, copies, mapped, plan.cache, plan.bookkeeping, plan.workspace];
      expect(plan.total[weights]).toBe(parts.reduce((a, b) => a + b, 0));
      expect({ engine: plan.engine, format: plan.format }).toEqual({ engine: 'ggml', format: weights });
      // A tied head reads the whole table, or 500 rows are from everywhere in it: all that is in the file is in memory.
      expect(copies + mapped).toBeCloseTo(plan.weights[weights], 0);
    }
    expect(planMemory(config, { engine: 'onnx' }).engine).toBe('onnx');
  });

  it('counts what formats take in ggml: blocks with their scales', async () => {
    const { resident } = planMemory(await tinyConfig(), { engine: 'ggml', weights: 'q4_0' });
    const [table, norms] = [4096 * 256, 13 * 256];
    const matrices = 5_278_976 - norms - table;
    const embedding = { name: 'wte', shape: [4096, 256], role: 'embedding', format: 'q8_0', isHead: true } as const;
    const heads = ggmlCodec.parts(embedding).slice(1);
    const head = heads.reduce((sum, { length }) => sum + length, 0);
    expect(resident.q4_0.private).toBe(0);
    expect(resident.q4_0.mapped).toBeCloseTo((matrices * 18 + table * 34) / 32 + 4 * norms + head, 0);
    expect(resident.float32).toEqual({ private: 0, mapped: 4 * (matrices + table + norms) });
  });

  it('counts blocks of a checkpoint as they are kept', async () => {
    const stored = (params: readonly Param[]) =>
      params.map((param) => (param.role === 'plain' ? param : { ...param, stored: 'q4_1' as const }));
    const options = { weights: 'f16', contextLength: 100 } as const;
    const config = await tinyConfig();
    const kept = planMemoryOf(ggmlMemory, config, options, stored);
    const norms = 13 * 256;
    expect(kept.weights.f16).toBe(((5_278_976 - norms) * 20) / 32 + 4 * norms);
    expect(planMemory(config, { ...options, engine: 'ggml' }).weights.f16).toBe(2 * (5_278_976 - norms) + 4 * norms);
  });

  it.each(['q8_0', 'q4_0'] as const)('counts matrices of a GGUF file in %s that a run copies', async (weights) => {
    const path = join(cacheDir, `${weights}.gguf`);
    const written = await openCheckpoint(TINY);
    await writeGguf(written, path, { weights });
    await written.close();
    const checkpoint = await openCheckpoint(path);
    const { config } = planModel(checkpoint);
    const { resident } = planMemory(config, { engine: 'ggml', contextLength: 100, weights, checkpoint });
    await checkpoint.close();
    const opened = vi.spyOn(GgmlWeights.prototype, 'open');
    await using model = await loadModel(path, { weights, engine: 'ggml', cacheDir });
    await model.prepare(model.createCache({ policy: 'dense', cacheLength: 100 }));
    const [{ rearranged }] = opened.mock.contexts as GgmlWeights[];
    opened.mockRestore();
    // Queries and keys, whose rows are in another order, are in the prepared file; the plan counts them as copies, too.
    const prepared = (6 * (256 + 128) * 256 * { q8_0: 34, q4_0: 18 }[weights]) / 32;
    expect(resident[weights].private).toBeGreaterThanOrEqual(rearranged);
    expect(resident[weights].private).toBeLessThanOrEqual(1.05 * rearranged + prepared);
  });

  it('keeps blocks in the format that is asked for, and without a wish where they are as exact', () => {
    const spec = { name: 'x', shape: [32, 32], role: 'linear', format: 'f16' } as const;
    expect(keptFormats('auto', 'f16', ggmlCodec)('q4_1', spec)).toBe(true);
    expect(keptFormats('auto', 'f16', ggmlCodec)('bf16', spec)).toBe(false);
    expect(keptFormats('auto', 'float32', ggmlCodec)('q4_1', spec)).toBe(false);
    expect(keptFormats('auto', 'int8', ggmlCodec)('q6_k', spec)).toBe(true);
    expect(keptFormats('q4_0', 'q4_0', ggmlCodec)('q4_1', { ...spec, format: 'q4_0' })).toBe(false);
  });

  it('counts of a table that is no head what its rows touch', () => {
    const { config } = readConfig({ ...configJson('llama'), tie_word_embeddings: false, vocab_size: 400_000 });
    const mapped = (contextLength: number) =>
      planMemory(config, { engine: 'ggml', contextLength }).resident.float32.mapped;
    expect(mapped(1)).toBeLessThan(mapped(16));
  });
});
