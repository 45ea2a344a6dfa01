/**
 * @file A process that loads and runs models of odd shapes with odd options, one for each seed that it is sent. What
 * ends the process is seen by its parent.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomCheckpoint } from '../../bench/random-checkpoint.ts';
import type { ShapeConfig } from '../../bench/shapes.ts';
import { openCheckpointFolder } from '../../src/checkpoint/open-node.ts';
import type { Checkpoint } from '../../src/checkpoint/types.ts';
import { loadModel } from '../../src/node.ts';
import { KeyholdError } from '../../src/util/errors.ts';
import { mutateJson, type Random } from './fuzzers.ts';
import { seeded } from './seeded.ts';

const FAMILIES = join(import.meta.dirname, '../fixtures/families');
const folders = (await readdir(FAMILIES)).sort();
const cacheDir = process.argv[2];

/** Stands for no option. */
const NONE = undefined;
const WEIGHTS = ['float32', 'f16', 'bf16', 'int8', 'int4', 'q4_0', 'q4_k', 'q6_k', 'q5_1', 'auto'] as const;
const POLICIES = ['dense', 'lastrec', 'h2o', 'tova', 'snapkv', 'keydiff', 'ada(h2o)', 'mix(h2o, keydiff)', 'echo'];
const BUFFERS = [
  NONE,
  'float32',
  'float16',
  'int8',
  'int5',
  'int4',
  'int8-plain',
  'int4-plain',
  { keys: 'int8', values: 'int4' },
  { keys: 'int5', values: 'int4' },
];
const LENGTHS = [1, 2, 3, 5, 8, 17, 32, 64, 65, 100, 300];
const BAD_LENGTHS = [0, -1, 1.5, Number.NaN, 2 ** 31, 2 ** 53, 1e308];
const SMALL = [1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 32, 33, 64, 96];

function pick<T>(random: Random, values: readonly T[]): T {
  return values[random(values.length)];
}

/** One of `values`, seldom one of `bad`: most cases are to reach the engine. */
const mostly = <T>(random: Random, values: readonly T[], bad: readonly T[]): T =>
  pick(random, random(20) === 0 ? bad : values);

/** A Llama or Qwen3 of any widths. */
function oddShape(random: Random): Checkpoint {
  const heads = pick(random, [1, 2, 3, 4, 6, 8]);
  const config = {
    model_type: pick(random, ['llama', 'qwen3'] as const),
    architectures: ['LlamaForCausalLM'],
    hidden_size: pick(random, [...SMALL, 128, 256]),
    intermediate_size: pick(random, [...SMALL, 256, 300]),
    num_hidden_layers: 1 + random(3),
    num_attention_heads: heads,
    num_key_value_heads: pick(random, [1, heads, Math.ceil(heads / 2)]),
    head_dim: mostly(
      random,
      SMALL.filter((size) => size % 2 === 0),
      SMALL,
    ),
    hidden_act: 'silu',
    max_position_embeddings: pick(random, [1, 16, 512, 4096]),
    rms_norm_eps: mostly(random, [1e-6, 1e-12, 1], [0, -1, 1e30]),
    rope_theta: pick(random, [1e4, 1, 1e6]),
    rope_scaling: null,
    tie_word_embeddings: true,
    attention_bias: false,
    vocab_size: pick(random, [1, 2, 31, 32, 100, 257]),
    bos_token_id: 0,
    eos_token_id: 0,
    torch_dtype: 'bfloat16',
  } as ShapeConfig;
  return randomCheckpoint(config, random(2 ** 30));
}

/** A checkpoint of a family whose config.json was changed. */
async function changedFamily(random: Random): Promise<Checkpoint> {
  const folder = join(FAMILIES, pick(random, folders));
  const checkpoint = await openCheckpointFolder(folder);
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
  const changed = random(3) === 0 ? mutateJson(config, random) : changedNumbers(config, random);
  const mark = `${checkpoint.identity}:${JSON.stringify(changed)}`;
  return {
    ...checkpoint,
    tensors: checkpoint.tensors,
    close: () => checkpoint.close(),
    readJson: (name) => checkpoint.readJson(name),
    readText: (name) => checkpoint.readText(name),
    fingerprint: async () => mark,
    identity: mark,
    config: changed as Checkpoint['config'],
  };
}

function changedNumbers(config: Record<string, unknown>, random: Random): Record<string, unknown> {
  const numbers = Object.keys(config).filter((key) => typeof config[key] === 'number');
  const changed = { ...config };
  for (let edits = random(3); edits > 0; edits--) {
    const key = pick(random, numbers);
    changed[key] = pick(random, [0, 1, 2, (changed[key] as number) * 2, (changed[key] as number) / 2, -1, 1e30, 0.5]);
  }
  return changed;
}

async function run(random: Random): Promise<'opened' | 'refused'> {
  let checkpoint: Checkpoint | undefined;
  try {
    checkpoint = random(2) === 0 ? oddShape(random) : await changedFamily(random);
    await using model = await loadModel(checkpoint, {
      weights: pick(random, WEIGHTS),
      threads: 1 + random(2),
      cacheDir,
    });
    const vocab = Math.max(1, Math.min(1000, model.config.vocabSize));
    const prompt = (length: number) => Array.from({ length }, () => random(vocab + (random(1000) === 0 ? 1 : 0)));
    const cache = {
      policy: pick(random, POLICIES),
      cacheLength: mostly(random, LENGTHS, BAD_LENGTHS),
      ...(random(8) === 0 ? { sinks: pick(random, [0, 1, 4, -1]) } : {}),
      buffer: pick(random, BUFFERS),
    } as object;
    const options = {
      cache,
      maxNewTokens: pick(random, [1, 2, 5, 9]),
      chunkLength: mostly(random, [NONE, 1, 2, 3, 7, 33], [0, -1, 2 ** 31]),
      temperature: pick(random, [0, 0.5, 1, 1e-30, 1e30]),
      topK: pick(random, [NONE, 1, 1e9]),
      speculate: random(10) === 0,
    };
    await model.generate(prompt(mostly(random, [1, 2, 9, 40, 80], [0, 5000])), options).result();
    return 'opened';
  } catch (error) {
    if (error instanceof KeyholdError) return 'refused';
    throw error;
  } finally {
    await checkpoint?.close();
  }
}

process.on('message', async (seed: number) => {
  try {
    process.send!({ outcome: await run(seeded(seed)) });
  } catch (error) {
    process.send!({ problem: (error as Error).stack });
  }
});
