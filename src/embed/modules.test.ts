import { describe, expect, it } from 'vitest';
import { f32, safetensorsFile } from '../../test/support/safetensors-bytes.ts';
import { checkpointFromBlobs } from '../checkpoint/from-blobs.ts';
import { CheckpointError, ConfigError } from '../util/errors.ts';
import { readEmbedModules } from './modules.ts';

const MODULE = 'sentence_transformers.models';
const TRANSFORMER = { idx: 0, name: '0', path: '', type: `${MODULE}.Transformer` };
const POOLING = { idx: 1, name: '1', path: '1_Pooling', type: `${MODULE}.Pooling` };
const DENSE = { idx: 2, name: '2', path: '2_Dense', type: `${MODULE}.Dense` };
const NORMALIZE = { idx: 3, name: '3', path: '3_Normalize', type: `${MODULE}.Normalize` };
const CLS = { word_embedding_dimension: 2, pooling_mode_cls_token: true, pooling_mode_mean_tokens: false };
const DENSE_CONFIG = {
  in_features: 2,
  out_features: 3,
  bias: true,
  activation_function: 'torch.nn.modules.linear.Identity',
};

/** What is read of a checkpoint with these files; objects are written as JSON. */
async function read(files: Readonly<Record<string, unknown>>) {
  const blobs = new Map(
    Object.entries({ 'config.json': {}, 'model.safetensors': safetensorsFile({ a: f32([1], [1]) }), ...files }).map(
      ([name, content]) => [
        name,
        new Blob([
          content instanceof Uint8Array
            ? new Uint8Array(content)
            : typeof content === 'string'
              ? content
              : JSON.stringify(content),
        ]),
      ],
    ),
  );
  const checkpoint = await checkpointFromBlobs(blobs, 'here');
  try {
    return await readEmbedModules(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

const dense = (bias: readonly number[] = [0.5, 0, -0.5]) =>
  safetensorsFile({ 'linear.weight': f32([3, 2], [1, 2, 3, 4, 5, 6]), 'linear.bias': f32([bias.length], [...bias]) });
const FILES = {
  'modules.json': [TRANSFORMER, POOLING, DENSE, NORMALIZE],
  '1_Pooling/config.json': { ...CLS, include_prompt: false },
  '2_Dense/config.json': DENSE_CONFIG,
  '2_Dense/model.safetensors': dense(),
  'config_sentence_transformers.json': {
    prompts: { query: 'query: ', passage: '' },
    default_prompt_name: 'query',
    similarity_fn_name: 'dot_product',
  },
  'sentence_bert_config.json': { max_seq_length: 64, do_lower_case: true },
};

describe('files of sentence-transformers', () => {
  it('may be absent', async () => {
    expect(await read({})).toEqual({
      pooling: null,
      poolsPrompt: true,
      steps: null,
      prompts: {},
      defaultPrompt: '',
      maxLength: null,
      lowerCase: false,
      similarity: 'cosine',
    });
  });

  it('say how texts are pooled, and what follows', async () => {
    expect(await read(FILES)).toEqual({
      pooling: 'cls',
      poolsPrompt: false,
      steps: [
        {
          kind: 'dense',
          layer: {
            inputs: 2,
            outputs: 3,
            activation: 'identity',
            weight: Float32Array.of(1, 2, 3, 4, 5, 6),
            bias: Float32Array.of(0.5, 0, -0.5),
          },
        },
        { kind: 'normalize' },
      ],
      prompts: { query: 'query: ', passage: '' },
      defaultPrompt: 'query: ',
      maxLength: 64,
      lowerCase: true,
      similarity: 'dot',
    });
    expect((await read({ ...FILES, 'modules.json': [TRANSFORMER, POOLING] })).steps).toEqual([]);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['no JSON', { 'modules.json': '[{' }, /here: modules\.json is not valid JSON/],
    ['no list', { 'modules.json': {} }, /must be a list of modules/],
    ['no module', { 'modules.json': [3] }, /module 0: must have a type and a path, but is 3/],
    ['no transformer', { 'modules.json': [POOLING] }, /the first module, and no other, must be a Transformer/],
    ['no pooling', { 'modules.json': [TRANSFORMER, NORMALIZE] }, /the second module, and no other, must be Pooling/],
    [
      'a model elsewhere',
      { 'modules.json': [{ ...TRANSFORMER, path: '0_T' }, POOLING] },
      /must be in the folder itself or in 0_Transformer, but is in "0_T"/,
    ],
    [
      'another module',
      { 'modules.json': [TRANSFORMER, POOLING, { ...DENSE, type: 'x.CNN' }] },
      /"CNN" modules are not supp/,
    ],
    ['a missing file', { 'modules.json': [TRANSFORMER, { ...POOLING, path: '9_P' }] }, /there is no 9_P\/config\.json/],
    ['a path out of it', { 'modules.json': [TRANSFORMER, { ...POOLING, path: '../x' }] }, /leaves the folder/],
    [
      'another mode',
      { '1_Pooling/config.json': { pooling_mode_median: true } },
      /pooling_mode_median is not supported/,
    ],
    [
      'an unknown mode',
      { '1_Pooling/config.json': { pooling_mode: ['cls', 'sum'] } },
      /pooling_mode "sum" is not supp/,
    ],
    [
      'another similarity',
      { 'config_sentence_transformers.json': { similarity_fn_name: 'maxsim' } },
      /similarity_fn_name is "maxsim"; known are cosine/,
    ],
    ['broken pooling', { '1_Pooling/config.json': '[]' }, /1_Pooling\/config\.json/],
    ['bad sizes', { '2_Dense/config.json': { ...DENSE_CONFIG, in_features: 0 } }, /must be whole numbers/],
    [
      'another activation',
      { '2_Dense/config.json': { ...DENSE_CONFIG, activation_function: 'a.Softsign' } },
      /"a\.Softsign" is not/,
    ],
    [
      'other weights',
      { '2_Dense/config.json': { ...DENSE_CONFIG, out_features: 4 } },
      /linear\.weight is \[3,2\], but .* \[4,2\]/,
    ],
    ['another bias', { '2_Dense/model.safetensors': dense([1]) }, /linear\.bias is \[1\]/],
    ['torn weights', { '2_Dense/model.safetensors': dense().subarray(0, 20) }, /2_Dense\/model\.safetensors/],
    [
      'no tensor',
      { '2_Dense/model.safetensors': safetensorsFile({ a: f32([1], [1]) }) },
      /there is no tensor linear\.weight/,
    ],
    [
      'bad prompts',
      { 'config_sentence_transformers.json': { prompts: { a: 1 } } },
      /prompts must be an object of texts/,
    ],
    [
      'another prompt',
      { 'config_sentence_transformers.json': { default_prompt_name: 'q' } },
      /default_prompt_name is "q"/,
    ],
    ['a bad length', { 'sentence_bert_config.json': { max_seq_length: -1 } }, /max_seq_length must be a whole number/],
  ])('are refused with %s', async (_, files, message) => {
    const error = await read({ ...FILES, ...files }).catch((cause: unknown) => cause);
    expect(error instanceof ConfigError || error instanceof CheckpointError, String(error)).toBe(true);
    expect((error as Error).message).toMatch(message);
  });

  it('of older versions state poolings one by one: several, or the mean', async () => {
    const pooling = async (config: object) => (await read({ ...FILES, '1_Pooling/config.json': config })).pooling;
    const both = { pooling_mode_mean_tokens: true, pooling_mode_lasttoken: true, pooling_mode_cls_token: true };
    expect(await pooling(both)).toEqual(['cls', 'mean', 'last']);
    expect(await pooling({ pooling_mode_mean_sqrt_len_tokens: true })).toBe('mean-sqrt');
    expect(await pooling({})).toBe('mean');
    expect(await pooling({ pooling_mode: ['weightedmean'] })).toBe('weighted-mean');
  });

  it('state the largest length, or leave it to the tokenizer', async () => {
    const { 'sentence_bert_config.json': _, ...rest } = FILES;
    const most = async (length: unknown) =>
      (await read({ ...rest, 'tokenizer_config.json': { model_max_length: length } })).maxLength;
    expect(await most(12)).toBe(12);
    expect(await most(1e30)).toBeNull();
    expect((await read({ ...FILES, 'tokenizer_config.json': { model_max_length: 12 } })).maxLength).toBe(64);
  });

  it('are refused without the weights of a dense module', async () => {
    const { '2_Dense/model.safetensors': _, ...rest } = FILES;
    await expect(read(rest)).rejects.toThrow(
      /2_Dense: there is no model\.safetensors, which holds the module's weights/,
    );
  });
});
