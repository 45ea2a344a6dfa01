import { cp, open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CASES, type ConfigJson, caseFolder, configJson } from '../../test/support/family-cases.ts';
import { floatsOf, readTensors, writeTensors } from '../../test/support/safetensors-file.ts';
import { seeded } from '../../test/support/seeded.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { onnxBackend } from '../backends/onnx/onnxruntime-node.ts';
import { onnxTarget } from '../backends/onnx/target.ts';
import { tensorOf } from '../backends/types.ts';
import type { Config } from '../config/config.ts';
import type { MoeMlp } from '../config/mlp-spec.ts';
import { readConfig } from '../families/read-config.ts';
import { loadModel } from '../node.ts';
import { tokensOf } from '../ops/experts.ts';
import { OpGraph } from '../ops/graph.ts';
import { range } from '../util/numbers.ts';
import { openPreparedWeights } from '../weights/prepared/store-node.ts';
import { concatRows, interleaveRows } from '../weights/rows.ts';
import type { Param, ParamPart, PreparedWeights, RowSource, WeightFormat } from '../weights/types.ts';
import type { ModelContext } from './context.ts';
import { mixtureOfExperts, routeTokens } from './moe.ts';

const cacheDir = await tempFolder('moe');
const FORMATS: readonly WeightFormat[] = ['float32', 'int8', 'int4'];
const FAMILIES = CASES.filter((name) =>
  readConfig(configJson(name)).config.layers.some(({ mlp }) => mlp?.kind === 'moe'),
);
const N = 40;

/** A family's config with experts of another size: whole blocks of 32, or not. */
function sized(name: string, width: number): Config {
  const json: ConfigJson = configJson(name);
  const sizes: ConfigJson = { hidden_size: 64, intermediate_size: width, moe_intermediate_size: width, d_model: 64 };
  for (const key of Object.keys(sizes)) if (key in json) json[key] = sizes[key];
  if (json.ffn_config) json.ffn_config = { ...json.ffn_config, ffn_hidden_size: width };
  return readConfig(json).config;
}

/** Random rows, the same for the same name. */
function randomRows({ name, rows, cols, interleaved }: ParamPart): RowSource {
  if (interleaved) return interleaveRows(interleaved.map(randomRows));
  const random = seeded([...name].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) >>> 0, 7));
  const data = Float32Array.from({ length: rows * cols }, () => (random(2001) / 1000 - 1) * (2 / Math.sqrt(cols)));
  return { rows, cols, read: async (start, count) => data.slice(start * cols, (start + count) * cols) };
}

const moeOf = ({ layers }: Config): MoeMlp => layers.find(({ mlp }) => mlp?.kind === 'moe')!.mlp as MoeMlp;

let identity = 0;

/** The experts of one layer, as a session over x [N, E]. */
async function experts(
  config: Config,
  format: WeightFormat,
  source = (param: Param) => concatRows(param.parts.map(randomRows)),
) {
  const g = new OpGraph(onnxTarget);
  const ctx: ModelContext = { g, config, format, parts: null, adapters: null };
  const x = g.input('x', 'float32', ['B', 'T', config.nEmbd]);
  g.output(
    mixtureOfExperts(ctx, x, () => x, moeOf(config), 'h.0.mlp'),
    'y',
  );
  const weights = await openPreparedWeights({
    specs: [...g.params.values()],
    format,
    identity: String(identity++),
    source,
    cacheDir,
  });
  const run = async (values: Float32Array, spoil?: (weights: PreparedWeights) => Promise<void>) => {
    await spoil?.(weights);
    const session = await onnxBackend.compile(g, weights);
    const { y } = await session.run({ x: tensorOf(values, [1, N, config.nEmbd]) });
    await session.dispose();
    return y.data;
  };
  return { run, params: [...g.params.values()] };
}

const inputs = (E: number, seed = 1): Float32Array => {
  const random = seeded(seed);
  return Float32Array.from({ length: N * E }, () => random(2001) / 1000 - 1);
};

/** Error as a share of the size. */
function shareOf(actual: Float32Array, expected: Float32Array): number {
  let [error, size] = [0, 0];
  for (const [i, value] of expected.entries()) {
    error += (actual[i] - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(error / size);
}

describe('experts in 8 and 4 bits', () => {
  it.each(FAMILIES)('%s: agree with float32 as well as rounding allows', async (name) => {
    for (const width of [64, 40]) {
      const config = sized(name, width);
      const x = inputs(config.nEmbd);
      const exact = await (await experts(config, 'float32')).run(x);
      const [int8, int4] = [
        shareOf(await (await experts(config, 'int8')).run(x), exact),
        shareOf(await (await experts(config, 'int4')).run(x), exact),
      ];
      expect(int8).toBeLessThan(0.02);
      expect(int4).toBeLessThan(0.2);
      expect(int4).toBeGreaterThan(int8);
    }
  });
});

/** Makes every number of the experts from `first` on NaN, where it lies. */
async function spoilExperts(weights: PreparedWeights, config: Config, format: WeightFormat, first: number) {
  const file = await open(join(weights.file.folder, weights.file.name), 'r+');
  for (const [name, { offset, length, dtype }] of weights.params) {
    if (!/\.experts\./.test(name) || dtype !== 'float32') continue;
    expect(name.endsWith('.scale')).toBe(format !== 'float32');
    const single = /\.experts\.(\d+)\./.exec(name);
    const share = single ? (Number(single[1]) < first ? 1 : 0) : first / moeOf(config).experts.count;
    const bytes = new Uint8Array(length * (1 - share)).fill(0xff);
    await file.write(bytes, 0, bytes.length, offset + length * share);
  }
  await file.close();
}

describe('experts that were not chosen', () => {
  it.each(FAMILIES)('%s: are not computed', async (name) => {
    for (const width of [64, 40])
      for (const format of FORMATS) {
        const config = sized(name, width);
        const { perToken: k } = moeOf(config).router;
        // The router sends all that is positive to the first k experts.
        const built = await experts(config, format, (param) => {
          const plain = concatRows(param.parts.map(randomRows));
          if (!param.name.endsWith('mlp.gate.weight')) return plain;
          return {
            ...plain,
            read: async (start, count) =>
              Float32Array.from({ length: count * plain.cols }, (_, i) =>
                start + Math.floor(i / plain.cols) < k ? 1 + 0.01 * Math.floor(i / plain.cols) : -1,
              ),
          };
        });
        const x = inputs(config.nEmbd).map(Math.abs);
        const sound = await built.run(x);
        const y = await built.run(x, (weights) => spoilExperts(weights, config, format, k));
        expect(y.every(Number.isFinite), `${format} ${width}`).toBe(true);
        expect(y).toEqual(sound);
        // And they would show.
        const all = await built.run(x, (weights) => spoilExperts(weights, config, format, 0));
        expect(all.some(Number.isNaN), `${format} ${width}`).toBe(true);
      }
  });

  it('get no rows: there are as many rows in all as tokens times choices', async () => {
    for (const name of FAMILIES) {
      const config = sized(name, 64);
      const { experts, router } = moeOf(config);
      const [nExpert, k] = [experts.count, router.perToken];
      const g = new OpGraph(onnxTarget);
      const ctx: ModelContext = { g, config, format: 'float32', parts: null, adapters: null };
      const x = g.input('x', 'float32', ['N', config.nEmbd]);
      const routing = routeTokens(ctx, x, nExpert, moeOf(config).router, 'h.0.mlp');
      for (const e of range(nExpert)) {
        const { tokens, rows, weights } = tokensOf(g, x, routing, e);
        g.output(tokens, `tokens.${e}`);
        g.output(rows, `rows.${e}`);
        g.output(weights, `weights.${e}`);
      }
      const weights = await openPreparedWeights({
        specs: [...g.params.values()],
        format: 'float32',
        identity: String(identity++),
        source: (param) => concatRows(param.parts.map(randomRows)),
        cacheDir,
      });
      const session = await onnxBackend.compile(g, weights);
      const found = await session.run({ x: tensorOf(inputs(config.nEmbd), [N, config.nEmbd]) });
      const rows = range(nExpert).map((e) => found[`rows.${e}`].dims[0]);
      expect(rows.reduce((a, b) => a + b, 0)).toBe(N * k);
      const pairs = range(nExpert).flatMap((e) =>
        Array.from(found[`tokens.${e}`].data as unknown as BigInt64Array, (token) => `${e},${token}`),
      );
      expect(new Set(pairs).size).toBe(N * k);
      await session.dispose();
    }
  });
});

describe('a mixture of attention heads', () => {
  it('computes the chosen heads only', async () => {
    const folder = join(cacheDir, 'jetmoe');
    await cp(caseFolder('jetmoe'), folder, { recursive: true });
    const tensors = await readTensors(join(folder, 'model.safetensors'));
    for (const [name, tensor] of Object.entries(tensors)) {
      // All scores are equal, so that the first two experts are chosen; the others overflow.
      if (name.endsWith('experts.router.layer.weight')) floatsOf(tensor).fill(0);
      if (!/experts\.(input|output)_linear\.weight$/.test(name)) continue;
      const values = floatsOf(tensor);
      values.fill(3e38, values.length / 2);
    }
    await writeTensors(join(folder, 'model.safetensors'), tensors);
    await using model = await loadModel(folder, { weights: 'float32', cacheDir });
    const logits = await model.prefill(model.createCache(), [5, 17, 33, 8], { logits: 'all' });
    expect(logits.every(Number.isFinite)).toBe(true);
  });
});
