import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { caseFolder, configJson } from '../../test/support/family-cases.ts';
import { idleBackend, unmadeWeights } from '../../test/support/runtimes.ts';
import { f32, safetensorsFile, type TestTensor } from '../../test/support/safetensors-bytes.ts';
import { readTensors } from '../../test/support/safetensors-file.ts';
import { byteLevelJson, tinyJson } from '../../test/support/tokenizers.ts';
import { onnxWebTarget } from '../backends/onnx/target.ts';
import { checkpointFromBlobs } from '../checkpoint/from-blobs.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import type { GraphTarget } from '../ops/target.ts';
import { CheckpointError, ConfigError, InputError, type KeyholdError, TokenizerError } from '../util/errors.ts';
import { GGML_FORMATS } from '../weights/formats/ggml-formats.ts';
import { assembleModel } from './load.ts';
import { planModel } from './plan.ts';
import type { WeightChoice } from './weights/weight-choice.ts';

type Tensors = Record<string, TestTensor>;
interface Change {
  readonly config?: Record<string, unknown>;
  readonly tensors?: (tensors: Tensors) => void;
  readonly files?: Record<string, unknown>;
}

/** A case's checkpoint, changed. */
async function checkpoint(name: string, { config, tensors, files }: Change = {}): Promise<Checkpoint> {
  const all = await readTensors(`${caseFolder(name)}/model.safetensors`);
  tensors?.(all);
  const blobs = new Map<string, Blob>([['model.safetensors', new Blob([safetensorsFile(all) as BlobPart])]]);
  const texts = { 'config.json': { ...configJson(name), ...config }, ...files };
  for (const [file, json] of Object.entries(texts))
    blobs.set(file, new Blob([typeof json === 'string' ? json : JSON.stringify(json)]));
  return checkpointFromBlobs(blobs, 'here');
}

async function refusal(
  kind: new (message: string) => KeyholdError,
  name: string,
  change: Change,
  weights?: WeightChoice,
): Promise<string> {
  let error: unknown;
  try {
    await assembleModel({
      checkpoint: await checkpoint(name, change),
      backend: idleBackend,
      weights,
      prepare: () => Promise.reject(new Error('weights were to be prepared')),
    });
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(kind);
  return (error as Error).message;
}

const plan = async (name: string, change?: Change, weights?: WeightChoice) =>
  planModel(await checkpoint(name, change), weights);

describe('a checkpoint is refused before its weights are read', () => {
  const EXPECTED =
    'The family llama has model.embed_tokens, model.layers.{l}.input_layernorm, model.layers.{l}.post_attention_layernorm, ' +
    'model.layers.{l}.self_attn.q_proj';

  it('where a tensor is missing', async () => {
    const message = await refusal(CheckpointError, 'llama', {
      tensors: (all) => {
        delete all['model.layers.1.mlp.up_proj.weight'];
      },
    });
    expect(message).toContain('here: the tensor model.layers.1.mlp.up_proj.weight is missing. ');
    expect(message).toContain(EXPECTED);
  });

  it('where a bias is missing that config.json announces', async () => {
    const message = await refusal(CheckpointError, 'llama', { config: { attention_bias: true } });
    expect(message).toContain('the tensor model.layers.0.self_attn.q_proj.bias is missing');
  });

  it('where tensors are left over', async () => {
    const message = await refusal(CheckpointError, 'llama', {
      tensors: (all) => {
        for (let i = 0; i < 9; i++) all[`model.layers.0.self_attn.extra_${i}`] = f32([1], [0]);
      },
    });
    expect(message).toMatch(/^here: 9 tensors do not belong in a llama model with this config\.json: /);
    expect(message).toContain('model.layers.0.self_attn.extra_5 and 3 more. ');
    expect(message).toContain(EXPECTED);
  });

  it('where it has more layers, or fewer, than config.json says', async () => {
    expect(await refusal(CheckpointError, 'llama', { config: { num_hidden_layers: 1 } })).toMatch(
      /9 tensors do not belong .*model\.layers\.1\./,
    );
    expect(await refusal(CheckpointError, 'llama', { config: { num_hidden_layers: 3 } })).toMatch(
      /the tensor model\.layers\.2\.\S+ is missing/,
    );
  });

  it.each([
    ['llama', 'model.layers.0.self_attn.k_proj.weight', [32, 16], [16, 32]],
    ['llama', 'model.layers.0.mlp.down_proj.weight', [32, 41], [32, 40]],
    ['llama', 'model.norm.weight', [31], [32]],
    ['llama', 'model.embed_tokens.weight', [96, 32], [97, 32]],
    ['phi3', 'model.layers.0.self_attn.qkv_proj.weight', [60, 32], [64, 32]],
    ['phi3', 'model.layers.1.mlp.gate_up_proj.weight', [40, 32], [80, 32]],
    ['gpt2', 'transformer.h.0.attn.c_attn.weight', [96, 32], [32, 96]],
    ['granitemoe', 'model.layers.0.block_sparse_moe.input_linear.weight', [3, 80, 32], [320, 32]],
    ['cohere-qknorm', 'model.layers.0.self_attn.q_norm.weight', [5, 8], [32]],
  ])('where a tensor has another shape: %s %s %j', async (name, tensor, shape, wanted) => {
    const message = await refusal(CheckpointError, name, {
      tensors: (all) => {
        expect(all).toHaveProperty([tensor]);
        const values = new Array<number>(shape.reduce((a, b) => a * b, 1)).fill(0);
        all[tensor] = f32(shape, values);
      },
    });
    expect(message).toContain(
      `here: the tensor ${tensor} has shape [${shape}], but config.json makes it [${wanted}]. `,
    );
    expect(message).toMatch(new RegExp(`The family ${configJson(name).model_type} has .*(embed|wte)`));
  });

  it('where config.json is', async () => {
    expect(await refusal(ConfigError, 'llama', { config: { model_type: 'no_such_family' } })).toMatch(
      /^here: config\.json: model_type is "no_such_family"/,
    );
  });

  it('where the tokenizer has more tokens than the model', async () => {
    const message = await refusal(TokenizerError, 'llama', { files: { 'tokenizer.json': tinyJson('tokenizer.json') } });
    expect(message).toBe('here: the tokenizer has 4096 tokens, but the model only 97; they do not belong together');
  });

  it('where the tokenizer is damaged', async () => {
    expect(await refusal(TokenizerError, 'llama', { files: { 'tokenizer.json': { model: {} } } })).toMatch(/vocab/);
    expect(await refusal(CheckpointError, 'llama', { files: { 'tokenizer.json': '{"model":' } })).toMatch(
      /^here: tokenizer\.json is not valid JSON/,
    );
    expect(await refusal(CheckpointError, 'llama', { files: { 'generation_config.json': '[]' } })).toMatch(
      /^here: generation_config\.json must be a JSON object/,
    );
  });

  it('where a format is not known', async () => {
    expect(await refusal(InputError, 'llama', {}, 'int2' as WeightChoice)).toBe(
      'there is no weight format "int2"; did you mean int8? There are auto, float32, int8, int4, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4',
    );
  });
});

describe('formats of ggml', () => {
  const plan = async (weights: WeightChoice, target?: GraphTarget) =>
    planModel(await checkpoint('llama', {}), weights, undefined, target);

  it('are int8 and int4 where ONNX holds the same blocks, and refused otherwise', async () => {
    expect((await plan('q8_0')).format).toBe('int8');
    expect((await plan('q4_0')).format).toBe('int4');
    for (const weights of GGML_FORMATS.filter((name) => name !== 'q8_0' && name !== 'q4_0'))
      await expect(plan(weights), weights).rejects.toThrow(
        `this engine can't compute with weights in "${weights}", only in auto, float32, int8, int4, q4_0, q8_0; the ggml`,
      );
    await expect(plan('q8_0', onnxWebTarget)).rejects.toThrow(InputError);
  });
});

it('a checkpoint that can be opened again is not kept by its model', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const load = async () => {
    const opened = await checkpoint('llama');
    const reopen = () => checkpoint('llama');
    const model = await assembleModel({ checkpoint: opened, backend: idleBackend, prepare: unmadeWeights, reopen });
    return { model, held: new WeakRef(opened) };
  };
  const { model, held } = await load();
  for (let i = 0; i < 100 && held.deref() !== undefined; i++) {
    // What was looked at is kept until the next turn of the event loop.
    await new Promise((done) => setTimeout(done, 10));
    gc();
  }
  expect(held.deref()).toBeUndefined();
  expect(model.name).toBe('here');
});

describe('a checkpoint may', () => {
  const load = async (name: string, change: Change) =>
    assembleModel({ checkpoint: await checkpoint(name, change), backend: idleBackend, prepare: unmadeWeights });

  it('come without a tokenizer', async () => {
    const model = await load('llama', {});
    expect(model.hasTokenizer).toBe(false);
    expect(() => model.tokenizer).toThrow(/here has no tokenizer\.json: pass token ids instead of text/);
    expect(() => model.generate('text')).toThrow(InputError);
  });

  it('have more rows than its tokenizer has tokens', async () => {
    const model = await load('llama', {
      config: { vocab_size: 300 },
      tensors: (all) => {
        for (const name of ['model.embed_tokens.weight', 'lm_head.weight'])
          all[name] = f32([300, 32], new Array(9600).fill(0));
      },
      files: { 'tokenizer.json': byteLevelJson() },
    });
    expect(model.tokenizer.vocabSize).toBe(271);
    expect(model.config.vocabSize).toBe(300);
  });

  it('have added tokens beyond its rows, as for images that a text model has no rows for', async () => {
    const json = tinyJson('tokenizer.json');
    const added = [...(json.added_tokens as object[])];
    added.push({ ...added[0], id: 4096, content: '<image_soft_token>', special: true });
    const model = await load('llama', {
      config: { vocab_size: 4096 },
      tensors: (all) => {
        for (const name of ['model.embed_tokens.weight', 'lm_head.weight'])
          all[name] = f32([4096, 32], new Array(4096 * 32).fill(0));
      },
      files: { 'tokenizer.json': { ...json, added_tokens: added } },
    });
    expect(model.tokenizer).toMatchObject({ vocabSize: 4097, ownVocabSize: 4096 });
    const cache = model.createCache();
    const ids = model.tokenizer.encode('An <image_soft_token>');
    await expect(model.prefill(cache, ids)).rejects.toThrow(/token id 4096 \(index \d\) is not in the model's/);
    expect(cache.length()).toBe(0);
  });

  it('hold buffers that nobody needs', async () => {
    const buffers = (names: readonly string[]) => (all: Tensors) => {
      for (const name of names) all[name] = f32([2], [0, 0]);
    };
    await plan('llama', { tensors: buffers(['model.layers.0.self_attn.rotary_emb.inv_freq']) });
    await plan('gpt2', { tensors: buffers(['transformer.h.0.attn.bias', 'transformer.h.0.attn.masked_bias']) });
    await plan('gpt_neox', {
      tensors: buffers(['gpt_neox.layers.0.attention.bias', 'gpt_neox.layers.1.attention.rotary_emb.inv_freq']),
    });
    await plan('gptj', {
      tensors: buffers(['transformer.h.0.attn.embed_positions', 'transformer.h.1.attn.masked_bias']),
    });
  });

  it('be named as a base model or a part of another, or as old files name norms', async () => {
    const renamed = (from: RegExp, to: string) => (all: Tensors) => {
      for (const name of Object.keys(all)) {
        const other = name.replace(from, to);
        if (other === name) continue;
        all[other] = all[name];
        delete all[name];
      }
    };
    const plans = [
      await plan('gpt2', { tensors: renamed(/^transformer\./, '') }),
      await plan('bloom', { tensors: renamed(/^transformer\./, '') }),
      await plan('opt', { tensors: renamed(/^model\./, '') }),
      await plan('gpt2', { tensors: renamed(/(ln_\w+)\.weight$/, '$1.gamma') }),
      await plan('gpt2', { tensors: renamed(/(ln_\w+)\.bias$/, '$1.beta') }),
    ];
    for (const { params } of plans) expect(params.length).toBeGreaterThan(10);
    await expect(plan('llama', { tensors: renamed(/^model\./, 'odd.') })).rejects.toThrow(/is missing/);
  });
});

describe('auto', () => {
  it('keeps float32 for a small model', async () => {
    expect(await plan('llama')).toMatchObject({ format: 'float32' });
    expect(await plan('llama', {}, 'int4')).toMatchObject({ format: 'int4' });
  });

  it('takes 8 bits for a large one', async () => {
    const large = {
      hidden_size: 4096,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      head_dim: 1024,
      num_hidden_layers: 1,
    };
    const small = await checkpoint('llama', { config: { ...large, intermediate_size: 4096, vocab_size: 1000 } });
    // The shapes are all that is looked at.
    const shapes: Record<string, number[]> = {
      'model.embed_tokens.weight': [1000, 4096],
      'lm_head.weight': [1000, 4096],
      'model.norm.weight': [4096],
    };
    for (const norm of ['input_layernorm', 'post_attention_layernorm'])
      shapes[`model.layers.0.${norm}.weight`] = [4096];
    for (const matrix of ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj'])
      shapes[`model.layers.0.${matrix}.weight`] = [4096, 4096];
    for (const matrix of ['mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'])
      shapes[`model.layers.0.${matrix}.weight`] = [4096, 4096];
    const tensors = new Map(
      Object.entries(shapes).map(([name, shape]) => [
        name,
        { name, shape, dtype: 'F32' as const, readFloats: () => Promise.reject(new Error('read')) },
      ]),
    );
    const { format, parameters } = planModel({ ...small, tensors });
    expect(parameters).toBe(2 * 1000 * 4096 + 7 * 4096 ** 2 + 3 * 4096);
    expect(format).toBe('int8');
  });
});
