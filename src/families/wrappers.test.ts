import { describe, expect, it } from 'vitest';
import { type ConfigJson, configJson } from '../../test/support/family-cases.ts';
import { ConfigError } from '../util/errors.ts';
import { NESTED_DEFAULTS } from './nested-defaults.ts';
import { readConfig, readFamilyConfig } from './read-config.ts';
import { FAMILIES } from './table.ts';
import { unwrap, WRAPPERS } from './wrappers.ts';

const text = (name: string): ConfigJson => configJson(name);
/** A config of one model inside of another's. */
const wrapped = (model_type: string, inner: ConfigJson, outer: ConfigJson = {}): ConfigJson => ({
  model_type,
  text_config: inner,
  vision_config: { model_type: 'clip_vision_model' },
  image_token_index: 7,
  ...outer,
});

const ignoredBy =
  ({ ignore }: ReturnType<typeof unwrap>['own']) =>
  (name: string) =>
    ignore!.some((pattern) => pattern instanceof RegExp && pattern.test(name));

describe('a config inside of another', () => {
  it('is read like one that stands alone', () => {
    for (const [outer, inner] of [
      ['llava', 'llama'],
      ['llava_next', 'mistral'],
      ['gemma3', 'gemma3'],
      ['aria', 'aria_text'],
      ['mllama', 'mllama_text'],
      ['idefics3', 'llama'],
    ]) {
      const alone = readConfig(text(inner)).config;
      expect(readConfig(wrapped(outer, text(inner))).config).toEqual({ ...alone, name: outer });
    }
  });

  it('has the defaults of its class where it is silent', () => {
    // As published: llava-hf/llava-1.5-7b-hf and google/gemma-3-4b-it.
    const { said: llava } = readFamilyConfig(
      wrapped('llava', { model_type: 'llama', max_position_embeddings: 4096, rms_norm_eps: 1e-5, vocab_size: 32064 }),
    );
    expect(llava).toMatchObject({ nLayer: 32, nEmbd: 4096, nHead: 32, intermediateSize: 11008, vocabSize: 32064 });
    expect([llava.contextLength, llava.norm.eps, llava.eosTokenIds]).toEqual([4096, 1e-5, [2]]);
    const gemma = readFamilyConfig(
      wrapped(
        'gemma3',
        {
          model_type: 'gemma3_text',
          hidden_size: 2560,
          intermediate_size: 10240,
          num_hidden_layers: 34,
          sliding_window: 1024,
          rope_scaling: { factor: 8.0, rope_type: 'linear' },
        },
        { eos_token_id: [1, 106], mm_tokens_per_image: 256 },
      ),
    ).said;
    expect(gemma).toMatchObject({ nHead: 8, nQueryGroups: 4, headSize: 256, vocabSize: 262208, tieEmbeddings: true });
    expect([gemma.contextLength, gemma.eosTokenIds, gemma.slidingWindowSize]).toEqual([131072, [1, 106], 1024]);
    expect(gemma.ropes.map((rope) => [rope.base, rope.scaling.type])).toEqual([
      [1e6, 'linear'],
      [1e4, 'none'],
    ]);
    // Alone, the same file would lack what it must say.
    expect(() => readConfig({ model_type: 'llama', vocab_size: 32064 })).toThrow(/num_hidden_layers is missing/);
  });

  it('may be the whole file, as older versions of qwen2_vl wrote it', () => {
    const { text_config, ...rest } = configJson('qwen2_vl_text') as { text_config: ConfigJson };
    const flat = { ...rest, ...text_config, model_type: 'qwen2_vl' };
    const { config } = readConfig(flat);
    expect(config).toEqual(readConfig(configJson('qwen2_vl_text')).config);
    expect(config.ropes[0].sections).toEqual([2, 1, 1]);
  });

  it('is named in messages, with what is wrong in it', () => {
    const refused: [ConfigJson, RegExp][] = [
      [wrapped('llava', { ...text('llama'), hidden_act: 'swoosh' }), /^here: text_config: hidden_act is "swoosh"/],
      [
        wrapped('llava', { ...text('llama'), model_type: 'clip' }),
        /text_config: model_type is "clip", which is not a known/,
      ],
      [{ model_type: 'llava' }, /^here: text_config must be an object, but is missing/],
      [{ model_type: 'llava', text_config: 'llama' }, /text_config must be an object, but is "llama"/],
      [wrapped('llava', text('llama'), { quantization_config: { quant_method: 'awq' } }), /use the original weights/],
      [{ model_type: 'paligemma' }, /paligemma are not supported: it attends to its whole prompt in both directions/],
    ];
    for (const [json, message] of refused) {
      expect(() => readConfig(json, 'here')).toThrow(ConfigError);
      expect(() => readConfig(json, 'here')).toThrow(message);
    }
    expect(() => readConfig(wrapped('llava', text('llama')), 'here', 'audio')).toThrow(
      /a llava model has no part "audio"; it has text, vision/,
    );
    expect(() => readConfig(text('llama'), 'here', 'text')).toThrow(/a llama model has no parts/);
    expect(() => readConfig(wrapped('llava', text('llama')), 'here', 'vision')).toThrow(
      /vision_config: model_type is "clip_vision_model", which is not a known family/,
    );
  });
});

describe('models that are out of reach', () => {
  it.each([
    ['deepseek_v32', /an indexer of its own, which is not supported; deepseek_v3, glm4_moe and minimax_m2 are/],
    ['qwen4_exp', /hyper-connections.* qwen3_5, hunyuan_v1_moe and glm4_moe are/],
    ['kimi_k25', /a trillion parameters.*deepseek_v3/],
    ['diffllama', /the difference of two, which is not supported; llama is/],
    ['rwkv7', /its recurrence is not supported; mamba2/],
    ['t5', /an encoder and a decoder/],
    ['llada', /token after token/],
    ['paddleocr_vl', /its text model is not taken out of it; those of llava/],
    ['gemma4_assistant', /load the model that it belongs to/],
  ])('are refused with the reason: %s', (model_type, reason) => {
    expect(() => readConfig({ model_type }, 'here')).toThrow(ConfigError);
    expect(() => readConfig({ model_type }, 'here')).toThrow(reason);
  });
});

describe('the table of wrappers', () => {
  it('takes the tensors of one part, and leaves the others alone', () => {
    const { own } = unwrap({ model_type: 'mimi' }, 'here', 'decoder');
    expect(own.moves).toEqual([['', 'decoder_transformer.']]);
    const ignored = ignoredBy(own);
    expect(ignored('encoder_transformer.layers.0.mlp.fc1.weight')).toBe(true);
    expect(ignored('quantizer.codebook')).toBe(true);
    expect(ignored('decoder_transformer.layers.0.mlp.fc3.weight')).toBe(false);
  });

  // Names of files that transformers 5.18 saves. Text models were compared with it; cohere2_vision scales logits as
  // cohere2 does, its wrapper does not.
  it.each([
    [
      'got_ocr2',
      'language_model.model.',
      'multi_modal_projector.conv_upsampler1.weight vision_tower.neck.conv1.weight',
    ],
    [
      'cohere2_vision',
      'model.language_model.',
      'model.multi_modal_projector.linear_1.bias model.vision_tower.head.probe',
    ],
    ['lighton_ocr', 'model.language_model.', 'model.vision_encoder.ln_pre.weight model.vision_projection.norm.weight'],
    ['ovis2', 'model.language_model.', 'model.visual_embeddings_table.weight model.vision_tower.head_norm.bias'],
    [
      'minicpmv4_6',
      'model.language_model.',
      'model.merger.mlp.0.linear_1.weight model.vision_tower.post_layernorm.bias',
    ],
    ['exaone4_5', 'model.language_model.', 'model.visual.merger.ln_q.weight'],
    ['deepseek_vl', 'model.language_model.', 'model.aligner.linear1.bias model.vision_model.post_layernorm.bias'],
    [
      'video_llama_3',
      'model.language_model.',
      'model.projector.readout.0.bias model.vision_model.encoder.layers.0.fc1.bias',
    ],
    ['qianfan_ocr', 'language_model.model.', 'mlp1.0.weight vision_model.embeddings.cls_token'],
    [
      'janus',
      'model.language_model.',
      'model.vqmodel.quant_conv.bias model.generation_embeddings.weight model.aligner.fc1.bias',
    ],
    ['qwen2_audio', 'language_model.model.', 'audio_tower.conv1.bias multi_modal_projector.linear.bias'],
    ['granite_speech', 'language_model.model.', 'encoder.out.bias projector.query'],
  ])('knows what of %s is not its text', (model_type, text, others) => {
    const { own } = unwrap({ model_type, text_config: {} }, 'here', null);
    const ignored = ignoredBy(own);
    expect(own.moves!.some(([from, to]) => `${text}layers.`.startsWith(to) && 'model.layers.'.startsWith(from))).toBe(
      true,
    );
    expect(ignored(`${text}layers.0.mlp.encoder_proj.weight`)).toBe(false);
    for (const other of others.split(' ')) expect(ignored(other), other).toBe(true);
  });

  it('leads to families that there are, and no type is in it twice', () => {
    const types = WRAPPERS.flatMap(({ modelTypes }) => modelTypes);
    expect(new Set(types).size).toBe(types.length);
    for (const type of Object.keys(NESTED_DEFAULTS))
      expect(
        FAMILIES.some(({ modelTypes }) => modelTypes.includes(type)),
        type,
      ).toBe(true);
  });
});
