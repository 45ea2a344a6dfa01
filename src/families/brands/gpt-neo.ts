/**
 * @file EleutherAI's GPT-Neo: GPT-2 with a window on every other layer, and scores that are not scaled. Reference:
 * transformers models/gpt_neo.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { show } from '../../util/json/show.ts';
import { type Family, plainMlpTensors } from '../family.ts';
import { attnBias, MAX_LAYERS, readBase, ungatedMlp, window } from '../read-base.ts';
import { GPT2_KEYS, GPT2_TENSORS } from './gpt2.ts';

const attn = 'transformer.h.{l}.attn.attention';

export const gptNeo: Family = {
  modelTypes: ['gpt_neo'],
  config: (r) => {
    const base = readBase(r, {
      ...GPT2_KEYS,
      keys: {
        ...GPT2_KEYS.keys,
        nEmbd: ['hidden_size'],
        nLayer: ['num_layers'],
        nHead: ['num_heads'],
        contextLength: ['max_position_embeddings'],
        intermediateSize: ['intermediate_size'],
      },
      tie: true,
    });
    const local = localLayers(r, base.nLayer);
    return {
      ...base,
      ...attnBias(base, false, true),
      ...ungatedMlp(base, true),
      ...window(base, r.int('window_size', 256), (l) => local[l]),
      position: 'learned',
      attentionScale: 1,
    };
  },
  tensors: {
    ...GPT2_TENSORS,
    'h.{l}.attn.q': `${attn}.q_proj`,
    'h.{l}.attn.k': `${attn}.k_proj`,
    'h.{l}.attn.v': `${attn}.v_proj`,
    'h.{l}.attn.proj': `${attn}.out_proj`,
    ...plainMlpTensors('transformer.h.{l}.mlp.c_fc', 'transformer.h.{l}.mlp.c_proj'),
  },
  prefixes: ['transformer.'],
  ignore: [/\.attn\.attention\.(bias|masked_bias)$/],
};

/** `attention_layers`, or its short form `attention_types`: [[["global", "local"], 12]]. */
function localLayers(r: ConfigReader, nLayer: number): boolean[] {
  const key = r.has('attention_layers') ? 'attention_layers' : 'attention_types';
  const types =
    r.strings('attention_layers', nLayer) ?? r.list('attention_types').flatMap((pattern) => repeated(r, pattern));
  r.skip('attention_types');
  if (types.length !== nLayer) r.fail(key, `is about ${types.length} layers, but there are ${nLayer}`);
  return types.map((type) => {
    if (type !== 'global' && type !== 'local') r.fail(key, `names ${show(type)}; known are global and local`);
    return type === 'local';
  });
}

/** One entry: a list of types, and how many times it stands. */
function repeated(r: ConfigReader, pattern: unknown): unknown[] {
  if (Array.isArray(pattern)) {
    const [types, times] = pattern;
    if (Array.isArray(types) && Number.isSafeInteger(times) && times > 0 && times * types.length <= MAX_LAYERS)
      return Array.from({ length: times }, () => types).flat();
  }
  return r.fail('attention_types', `must be a list of [types, times], but has ${show(pattern)}`);
}
