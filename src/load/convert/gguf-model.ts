/**
 * @file A model's config as the metadata of a GGUF file, for the architectures that can be written.
 */
import { type GgufLayout, LAYOUTS } from '../../checkpoint/gguf/layouts.ts';
import type { Entry } from '../../checkpoint/gguf/write/header-bytes.ts';
import type { Config, RopeSpec } from '../../config/config.ts';
import type { SelfAttention } from '../../config/layer-spec.ts';
import { ConfigError } from '../../util/errors.ts';
import { type Puts, putHeads, putLatent, putLatentScale, putMlps, putStates } from './gguf-mixers.ts';

export interface GgufModelFacts {
  readonly layout: GgufLayout;
  /** Below no prefix: whole keys. */
  readonly entries: ReadonlyMap<string, Entry>;
  /** Small tensors that are made of the config. */
  readonly extra: ReadonlyMap<string, readonly number[]>;
}

/** Mixers that some architecture has. */
const WRITTEN_MIXERS: ReadonlySet<string> = new Set([
  'self-attention',
  'mamba-1',
  'mamba-2',
  'short-conv',
  'mla',
  'gated-delta',
]);

/** What of a model no architecture that is written has. */
function obstacle({ layers }: Config): string {
  const kinds = layers.flatMap(({ mixer, mlp, laurel }) => [
    ...(mixer && !WRITTEN_MIXERS.has(mixer.kind) ? [mixer.kind] : []),
    ...(mlp?.kind === 'plain' && mlp.activation === 'xielu' ? ['xielu'] : []),
    ...(laurel ? ['a low-rank branch'] : []),
  ]);
  return kinds.length === 0 ? '' : `, since its layers have ${[...new Set(kinds)].join(', ')}`;
}

/**
 * @throws ConfigError for a family that can't be written, and for what GGUF can't hold.
 */
export function ggufModelOf(config: Config, name: string): GgufModelFacts {
  const layout = Object.hasOwn(LAYOUTS, config.name) ? LAYOUTS[config.name] : undefined;
  if (!layout)
    throw new ConfigError(
      `${name}: models of type ${config.name} can't be written to GGUF${obstacle(config)}; these can: ${Object.keys(LAYOUTS).join(', ')}`,
    );
  const fail = (what: string) => new ConfigError(`${name}: ${what}, which GGUF can't hold in ${layout.architecture}`);
  const attention = config.layers.flatMap(({ mixer }) => (mixer?.kind === 'self-attention' ? [mixer] : []));
  const latent = config.layers.flatMap(({ mixer }) => (mixer?.kind === 'mla' ? [mixer] : []));
  const other = config.layers.find(({ mixer }) => mixer !== null && !WRITTEN_MIXERS.has(mixer.kind))?.mixer;
  if (other) throw fail(`a layer has ${other.kind}`);
  if (latent.length > 0 && latent.length < config.nLayer) throw fail('not every layer has latent attention');
  const entries = new Map<string, Entry>();
  const hasExperts = config.layers.some(({ mlp }) => mlp?.kind === 'moe');
  const a = (hasExperts ? layout.mixture : undefined) ?? layout.architecture;
  const put: Puts['put'] = (key, entry) => entries.set(key, entry);
  const u32 = (key: string, value: number) => put(`${a}.${key}`, { type: 'u32', value });
  const f32 = (key: string, value: number) => put(`${a}.${key}`, { type: 'f32', value });
  put('general.architecture', { type: 'text', value: a });
  put('general.type', { type: 'text', value: 'model' });
  put('general.name', { type: 'text', value: name });
  put('general.quantization_version', { type: 'u32', value: 2 });
  u32('block_count', config.nLayer);
  u32('context_length', config.contextLength);
  u32('embedding_length', config.nEmbd);
  u32('vocab_size', config.embedRows);
  const puts = { u32, f32, put, a, fail };
  if (latent.length > 0) putLatent(latent, puts);
  else putHeads(config, attention, puts);
  putStates(config, puts);
  const { norm } = config;
  f32(`attention.layer_norm_${norm.kind === 'rms' ? 'rms_' : ''}epsilon`, norm.eps);
  // llama.cpp wants this of models that have no layer norm, too.
  if (a.startsWith('nemotron_h')) f32('attention.layer_norm_epsilon', norm.eps);
  putMlps(
    config.layers.map(({ mlp }) => mlp),
    puts,
  );
  const [first] = attention;
  const extra = putRope(config, first?.keySize ?? latent[0]?.ropeSize ?? 0, puts, latent.length > 0);
  if (latent.length > 0) putLatentScale(config, latent[0], puts);
  if (first) putAttention(config, attention, layout, puts);
  if (a.startsWith('granite')) {
    f32('embedding_scale', config.embedScale);
    f32('residual_scale', config.layers[0].residualScale);
    // llama.cpp tells by this key whether such a model rotates anything.
    if (a === 'granitehybrid') put(`${a}.rope.scaling.finetuned`, { type: 'bool', value: config.position === 'rope' });
  }
  if (layout.logitScale)
    f32('logit_scale', layout.logitScale === 'divided' ? 1 / config.logitScale : config.logitScale);
  else if (config.logitScale !== 1) throw fail('logits are scaled');
  if (a === 'mpt') f32('attention.max_alibi_bias', 8);
  if (a === 'stablelm' || a === 'gptneox')
    put(`${a}.use_parallel_residual`, { type: 'bool', value: config.layers[0].residual !== 'sequential' });
  return { layout, entries, extra };
}

function putAttention(
  config: Config,
  attention: readonly SelfAttention[],
  { window }: GgufLayout,
  { u32, f32, put, a, fail }: Puts,
): void {
  const sizes = new Set(attention.map((mixer) => mixer.window).filter((size) => size !== null));
  const reached = [...sizes].filter((size) => size < config.contextLength);
  if (reached.length > 1 || (reached.length === 1 && !window)) throw fail(`a sliding window of ${reached.join(', ')}`);
  if (window && sizes.size === 1) u32('attention.sliding_window', [...sizes][0]);
  const windowed = attention.map((mixer) => mixer.window !== null);
  const pattern = `${a}.attention.sliding_window_pattern`;
  if (window === 'list' && sizes.size === 1) put(pattern, { type: 'bools', value: windowed });
  if (window === 'every' && sizes.size === 1) put(pattern, { type: 'u32', value: windowed.indexOf(false) + 1 });
  const [first] = attention;
  if (first.chunk !== null) u32('attention.sliding_window', first.chunk);
  const temperature = attention.find((mixer) => mixer.temperature)?.temperature;
  if (temperature) {
    f32('attention.temperature_scale', temperature.beta);
    u32('attention.temperature_length', temperature.floor);
  }
  const usual = first.keySize ** -0.5;
  // Gemma's own scale is read by this project; llama.cpp knows it by the model's size.
  if (a.startsWith('granite') || (a.startsWith('gemma') && Math.abs(first.scale - usual) > 1e-7))
    f32('attention.scale', first.scale);
  else if (Math.abs(first.scale / usual - 1) > 1e-6) throw fail('attention has a scale of its own');
  if (first.softcap !== null) f32('attn_logit_softcapping', first.softcap);
  if (config.finalLogitSoftcapping !== null) f32('final_logit_softcapping', config.finalLogitSoftcapping);
  if (first.clip) f32('attention.clamp_kqv', first.clip.limit);
}

/** Also gives the tensors of a scaling that is written as divisors of the frequencies. */
function putRope(config: Config, headSize: number, puts: Puts, latent: boolean): Map<string, readonly number[]> {
  const { u32, f32, put, a, fail } = puts;
  const extra = new Map<string, readonly number[]>();
  const [rope, local] = config.ropes;
  if (!rope) return extra;
  u32('rope.dimension_count', rope.nElem);
  f32('rope.freq_base', rope.base);
  // The fourth is of videos' models only.
  if (rope.sections) put(`${a}.rope.dimension_sections`, { type: 'i32s', value: [...rope.sections, 0].slice(0, 4) });
  if (local) {
    if (local.scaling.type !== 'none') throw fail('a second scaling of positions');
    f32('rope.freq_base_swa', local.base);
  }
  const { scaling } = rope;
  switch (scaling.type) {
    case 'none':
      break;
    case 'linear':
      put(`${a}.rope.scaling.type`, { type: 'text', value: 'linear' });
      f32('rope.scaling.factor', scaling.factor);
      break;
    case 'yarn': {
      const usual = 1 + 0.1 * Math.log(Math.max(1, scaling.factor));
      put(`${a}.rope.scaling.type`, { type: 'text', value: 'yarn' });
      f32('rope.scaling.factor', scaling.factor);
      u32('rope.scaling.original_context_length', scaling.origMaxSeq);
      f32('rope.scaling.yarn_beta_fast', scaling.betaFast);
      f32('rope.scaling.yarn_beta_slow', scaling.betaSlow);
      if (!latent && Math.abs(scaling.attentionFactor / usual - 1) > 1e-6)
        f32('rope.scaling.attn_factor', scaling.attentionFactor / usual);
      break;
    }
    case 'llama3':
      extra.set('rope_freqs.weight', llama3Divisors(rope, headSize));
      break;
    case 'longrope':
      if (`${scaling.short}` === `${scaling.long}` && scaling.attnFactorLong === 1) {
        extra.set('rope_freqs.weight', scaling.long);
        break;
      }
      extra.set('rope_factors_long.weight', scaling.long);
      extra.set('rope_factors_short.weight', scaling.short);
      u32('rope.scaling.original_context_length', scaling.origMaxSeq);
      f32('rope.scaling.attn_factor', scaling.attnFactorLong);
      if (scaling.attnFactorLong !== scaling.attnFactorShort) throw fail('two attention factors of longrope');
      break;
    default:
      throw fail(`positions are scaled by ${scaling.type}`);
  }
  return extra;
}

/** What Llama 3's scaling divides each frequency by. */
function llama3Divisors({ base, nElem, scaling }: RopeSpec, headSize: number): number[] {
  if (scaling.type !== 'llama3') return [];
  const { factor, lowFreq, highFreq, origMaxSeq } = scaling;
  return Array.from({ length: nElem / 2 }, (_, i) => {
    const wave = 2 * Math.PI * base ** ((2 * i) / headSize);
    if (wave < origMaxSeq / highFreq) return 1;
    if (wave > origMaxSeq / lowFreq) return factor;
    const smooth = (origMaxSeq / wave - lowFreq) / (highFreq - lowFreq);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
