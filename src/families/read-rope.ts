/**
 * @file Reads a rotary embedding's settings from config.json: the old keys (`rope_theta`, `rope_scaling`) and the new
 * one (`rope_parameters`, written by transformers ≥ 5), the new first.
 */
import type { RopeScaling, RopeSpec } from '../config/config.ts';
import type { ConfigReader } from '../config/reader.ts';
import { show } from '../util/json/show.ts';

/** What a family fixes or defaults, where its config.json is silent. */
export interface RopeDefaults {
  readonly headSize: number;
  readonly maxSeq: number;
  readonly theta?: number;
  readonly fraction?: number;
  readonly interleave?: boolean;
  /** Keys of the base besides rope_theta. */
  readonly thetaKeys?: readonly string[];
  /** Keys of the rotated fraction besides partial_rotary_factor; null: the family rotates whole heads only. */
  readonly fractionKeys?: readonly string[] | null;
  /** Key that states the rotated width itself; null in the file means the whole head. */
  readonly widthKey?: string;
  /** Its value where the file is silent. */
  readonly width?: number;
  /** For nested rope_parameters: which of them. */
  readonly layerType?: 'full_attention' | 'sliding_attention';
  /** The family knows the type `proportional`. @default false */
  readonly proportional?: boolean;
  /** Other names of scaling types, e.g. phi3's `su`. */
  readonly typeAliases?: Readonly<Record<string, string>>;
}

/**
 * @throws ConfigError for an unknown rope type, a missing or absurd factor, or a rotated width that exceeds the head.
 */
export function readRope(r: ConfigReader, defaults: RopeDefaults): RopeSpec {
  const outer = r.object('rope_parameters');
  const fresh = (defaults.layerType && outer?.object(defaults.layerType)) ?? outer;
  // The new key says all that the old one says.
  if (fresh) r.skip('rope_scaling');
  const old = fresh ? undefined : r.object('rope_scaling');
  const scaling = fresh ?? old;

  const thetaKeys = ['rope_theta', ...(defaults.thetaKeys ?? [])];
  const oldTheta = r.positive(thetaKeys, defaults.theta ?? 10_000);
  const base = fresh?.has('rope_theta') ? fresh.positive('rope_theta') : oldTheta;

  const fractionKeys = ['partial_rotary_factor', ...(defaults.fractionKeys ?? [])];
  const oldFraction = r.positive(fractionKeys, defaults.fraction ?? 1);
  const fraction = fresh?.has('partial_rotary_factor') ? fresh.positive('partial_rotary_factor') : oldFraction;
  if (
    defaults.proportional &&
    scaling?.has(['rope_type', 'type']) &&
    scaling.string(['rope_type', 'type']) === 'proportional'
  ) {
    const pairs = Math.trunc((fraction * defaults.headSize) / 2);
    checkRotatedWidth(r, fractionKeys, 2 * pairs, defaults.headSize);
    const proportional = { type: 'proportional', factor: scaling.positive('factor', 1), pairs } as const;
    return { base, nElem: defaults.headSize, interleave: false, scaling: proportional };
  }
  if (defaults.fractionKeys === null && fraction !== 1)
    r.fail('partial_rotary_factor', `is ${fraction}, but this family rotates whole heads`);

  const { widthKey, width } = defaults;
  const nElem = widthKey
    ? r.isNull(widthKey)
      ? defaults.headSize
      : r.int(widthKey, width, 0)
    : Math.trunc(defaults.headSize * fraction);
  // Where heads rotate whole, it is their size that does not fit.
  checkRotatedWidth(r, widthKey ?? (fraction === 1 ? 'head_dim' : fractionKeys), nElem, defaults.headSize);
  // Hunyuan's dynamic scaling is a larger base that depends on no length.
  const alpha = scaling?.has('alpha') ? scaling.positive('alpha') : null;
  if (alpha !== null)
    scaling?.skip('rope_type', 'type', 'factor', 'beta_fast', 'beta_slow', 'mscale', 'mscale_all_dim');
  return {
    base: alpha === null ? base : base * alpha ** (nElem / (nElem - 2)),
    nElem,
    interleave: defaults.interleave ?? false,
    scaling: scaling && alpha === null ? readScaling(r, scaling, defaults) : { type: 'none' },
    ...(scaling?.has('mrope_section') ? { sections: readSections(scaling, Math.ceil(nElem / 2)) } : {}),
    ...(scaling?.has('mrope_interleaved') && scaling.bool('mrope_interleaved') ? { byTurns: true } : {}),
  };
}

/** How many of the frequencies follow each of the three position streams. */
function readSections(scaling: ConfigReader, pairs: number): number[] {
  const sections = scaling.numbers('mrope_section', 3);
  const sum = sections.reduce((a, b) => a + b, 0);
  if (sum !== pairs) scaling.fail('mrope_section', `adds up to ${sum}, but there are ${pairs} frequencies`);
  return sections;
}

/** Rotation works on pairs: an odd width takes one dimension more, which must still be inside the head. */
export function checkRotatedWidth(r: ConfigReader, key: string | readonly string[], nElem: number, headSize: number) {
  const rotated = 2 * Math.ceil(nElem / 2);
  if (rotated > headSize)
    r.fail(
      key,
      `gives ${nElem} rotary elements, which rotate in pairs and so need ${rotated} dimensions, but a head has ${headSize}`,
    );
}

function readScaling(r: ConfigReader, s: ConfigReader, defaults: RopeDefaults): RopeScaling {
  const stated = s.string(['rope_type', 'type'], 'default');
  const type = defaults.typeAliases?.[stated] ?? stated;
  const origMaxSeq = () =>
    s.has('original_max_position_embeddings')
      ? s.int('original_max_position_embeddings')
      : r.int('original_max_position_embeddings', defaults.maxSeq);
  switch (type) {
    case 'default':
    case 'mrope':
      s.skip('factor', 'original_max_position_embeddings'); // stated by some files, and read by no code
      return { type: 'none' };
    case 'linear':
      return { type: 'linear', factor: s.positive('factor') };
    case 'dynamic':
      s.skip('original_max_position_embeddings'); // transformers takes the config's max_position_embeddings
      return { type: 'dynamic', factor: s.positive('factor'), maxSeq: defaults.maxSeq };
    case 'llama3': {
      const lowFreq = s.positive('low_freq_factor');
      const highFreq = s.positive('high_freq_factor');
      // Llama 4 Scout states 1 twice: no frequency is between.
      if (highFreq < lowFreq)
        s.fail('high_freq_factor', `must be at least low_freq_factor ${lowFreq}, but is ${highFreq}`);
      return { type: 'llama3', factor: s.positive('factor'), lowFreq, highFreq, origMaxSeq: origMaxSeq() };
    }
    case 'yarn': {
      const factor = s.positive('factor');
      const g = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
      // 0 stands for "not there".
      const mscale = s.float('mscale', 0, 0);
      const mscaleAll = s.float('mscale_all_dim', 0, 0);
      s.skip('attn_factor', 'finetuned'); // DeepSeek-R1-0528-Qwen3-8B, Yarn-Llama-2: transformers reads neither
      const attentionFactor =
        s.positiveOrNull('attention_factor') ?? (mscale && mscaleAll ? g(mscale) / g(mscaleAll) : g(1));
      return {
        type: 'yarn',
        factor,
        betaFast: s.positive('beta_fast', 32),
        betaSlow: s.positive('beta_slow', 1),
        origMaxSeq: origMaxSeq(),
        attentionFactor,
        truncate: s.bool('truncate', true),
      };
    }
    case 'longrope': {
      const pairs = Math.ceil(Math.trunc(defaults.headSize * fractionOf(r, s, defaults)) / 2);
      const orig = origMaxSeq();
      const factor = s.positiveOrNull('factor') ?? defaults.maxSeq / orig;
      const attention =
        s.positiveOrNull('attention_factor') ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(orig)));
      return {
        type: 'longrope',
        short: s.numbers('short_factor', pairs),
        long: s.numbers('long_factor', pairs),
        origMaxSeq: orig,
        attnFactorShort: s.positive('short_mscale', attention),
        attnFactorLong: s.positive('long_mscale', attention),
      };
    }
    default:
      return s.fail(
        ['rope_type', 'type'],
        `is ${show(stated)}, which is not known; known are default, linear, dynamic, llama3, yarn, longrope`,
      );
  }
}

function fractionOf(r: ConfigReader, s: ConfigReader, defaults: RopeDefaults): number {
  if (s.has('partial_rotary_factor')) return s.positive('partial_rotary_factor');
  return r.positive(['partial_rotary_factor', ...(defaults.fractionKeys ?? [])], defaults.fraction ?? 1);
}
