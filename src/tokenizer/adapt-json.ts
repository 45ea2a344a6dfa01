/**
 * @file Where @huggingface/tokenizers reads tokenizer.json otherwise than Hugging Face's own library does.
 */

type Json = Readonly<Record<string, unknown>>;

/** Hugging Face takes an absent part for none; the library wants it said. */
const ABSENT = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };

/** The same tokenizer, in words that the library understands as they are meant. */
export function adaptTokenizerJson(json: Json): Json {
  const whole = { ...ABSENT, ...json };
  return {
    ...whole,
    pre_tokenizer: mapParts(whole.pre_tokenizer, 'pretokenizers', adaptPreTokenizer),
    decoder: mapParts(whole.decoder, 'decoders', adaptDecoder),
  };
}

/** GPT-2's words. As a pattern of a Split, its `\s` is Unicode's; the library's own copy takes U+FEFF for a space. */
const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

function adaptPreTokenizer(part: Json): Json {
  if (part['type'] === 'ByteLevel' && part['use_regex'] !== false && part['add_prefix_space'] === false)
    return sequence(split(GPT2_WORDS), { ...part, use_regex: false });
  return part['type'] === 'Metaspace' ? adaptMetaspace(part) : part;
}

/**
 * A metaspace pre-tokenizer also splits before each `▁`, unless `split` is false; the library never splits (and then
 * takes a long text for one word). The old `add_prefix_space: false` means that nothing is put before the text.
 */
function adaptMetaspace(part: Json): Json {
  const scheme = part['add_prefix_space'] === false ? 'never' : (part['prepend_scheme'] ?? 'always');
  const metaspace = { ...part, prepend_scheme: scheme };
  if (part['split'] === false) return metaspace;
  const mark = (typeof part['replacement'] === 'string' ? part['replacement'] : '▁').replace(/[\\^\]-]/g, '\\$&');
  return sequence(metaspace, split(`[${mark}]?[^${mark}]+|[${mark}]`));
}

const sequence = (...pretokenizers: Json[]): Json => ({ type: 'Sequence', pretokenizers });

/** Cuts a text into all that matches. */
const split = (regex: string): Json => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Removed',
  invert: true,
});

/** A metaspace decoder drops the first space only if one was put there. */
function adaptDecoder(part: Json): Json {
  const bare = part['prepend_scheme'] === 'never' || part['add_prefix_space'] === false;
  if (part['type'] !== 'Metaspace' || !bare) return part;
  return { type: 'Replace', pattern: { String: part['replacement'] ?? '▁' }, content: ' ' };
}

function mapParts(part: unknown, list: string, adapt: (part: Json) => Json): unknown {
  if (typeof part !== 'object' || part === null) return part;
  const parts = (part as Json)[list];
  if ((part as Json)['type'] !== 'Sequence' || !Array.isArray(parts)) return adapt(part as Json);
  return { ...part, [list]: parts.map((inner) => mapParts(inner, list, adapt)) };
}
