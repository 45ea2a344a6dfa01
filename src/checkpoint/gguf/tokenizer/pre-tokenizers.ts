/**
 * @file How text is cut before byte-level merges, by the name that GGUF files have for it (tokenizer.ggml.pre).
 *
 * The patterns are those of the original tokenizer.json files; llama.cpp runs rewritten forms of them.
 */
import { TokenizerError } from '../../../util/errors.ts';
import type { Json } from './types.ts';

/** One row: the patterns that cut a text one after the other, and what else is particular. */
export interface PreTokenizer {
  readonly names: readonly string[];
  /** Each match becomes a piece of its own, and so does what is between them. */
  readonly patterns: readonly string[];
  /** A piece that is a token is taken whole, whatever the merges say. */
  readonly ignoreMerges?: boolean;
  /** A token before each text, unless the file says otherwise. */
  readonly addBos?: boolean;
  /** Text is brought into composed form first. */
  readonly nfc?: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const TAIL = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const PUNCTUATION = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*';

/** Llama 3 and Qwen 2: they differ in how many digits are together. */
const words = (digits: string) => `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${PUNCTUATION}|${TAIL}`;
const LLAMA3 = words('\\p{N}{1,3}');
const QWEN2 = words('\\p{N}');
const QWEN35 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${TAIL}`;
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
/** Words in which a capital letter begins a new one; `after` may follow each. */
const cased = (after: string, digits: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${after}|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${after}|${digits}` +
  `| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${TAIL}`;
const TEKKEN = cased('', '\\p{N}');
const GPT4O = cased(`${CONTRACTIONS}?`, '\\p{N}{1,3}');
const YOUTU = [
  '[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\\u3040-ゟ゠-ヿ]+',
  cased(`${CONTRACTIONS}?`, '\\p{N}'),
];

/** Chinese characters are words of their own, and no letters of others. */
const noHan = (letters: string) => `(?:(?!\\p{Han})${letters})`;
const KIMI =
  `\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?${noHan(UPPER)}*${noHan(LOWER)}+${CONTRACTIONS}?` +
  `|[^\\r\\n\\p{L}\\p{N}]?${noHan(UPPER)}+${noHan(LOWER)}*${CONTRACTIONS}?|\\p{N}{1,3}|${PUNCTUATION}|${TAIL}`;

/** Runs of spaces in pieces of powers of two. */
const JAIS2 = `${LLAMA3.slice(0, -TAIL.length)}\\s*[\\r\\n]+|${[512, 256, 128, 64, 32, 16, 8, 4]
  .map((count) => `\\s{${count}}(?!\\S)|`)
  .join('')}\\s{1,2}(?!\\S)|\\s{1}`;
/** Several words with spaces between them are one piece. */
const EXAONE_MOE =
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}` +
  '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+';
const CHAMELEON = [
  '<sentinel:[0-9]+>',
  '(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z',
  '([\\t\\n]|    |  )',
  '\\p{N}',
  '[\\p{P}!-/:-@\\[-`{-~]',
  GPT2,
];

const CJK = '[一-龥\\u3040-ゟ゠-ヿ]+';
const deepseekWords = (tail: string) =>
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+' +
  `| ?[\\p{P}\\p{S}]+${tail}`;
const DEEPSEEK3_WORDS = deepseekWords(`[\\r\\n]*|${TAIL}`);
const DEEPSEEK3 = ['\\p{N}{1,3}', CJK, DEEPSEEK3_WORDS];
const SPARK = ['\\p{N}{1,3}', CJK, deepseekWords('|[\\r\\n]|\\s+(?!\\S)|\\s+'), '\\p{N}'];
/** Digits in threes from the right, and the scripts of Asia. */
const AFMOE = [
  '\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))',
  '[一-鿿㐀-䶿豈-﫿\\u3040-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿\\u0e80-\\u0eff\\u1780-\\u17ffက-႟ꩠ-ꩿꧠ-꧿가-\\ud7afᄀ-ᇿ]+',
  DEEPSEEK3_WORDS,
];
const DEEPSEEK_CODER = ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-\\ud7ff]+', '\\p{N}'];
/** The letters that are listed there are those with case, but for those of mathematics. */
const DEEPSEEK_LLM = [
  '[\\r\\n]',
  '\\s?(?:(?![\\x{1d400}-\\x{1d7ff}])[\\p{Lu}\\p{Ll}\\p{Lt}])+',
  '\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+',
  '\\s+$',
  '[一-龥ࠀ-一가-\\ud7ff]+',
  '\\p{N}+',
];
const FALCON = ['[\\p{P}\\$\\+<=>\\^~\\|`]+', GPT2, '[0-9][0-9][0-9]'];
const BLOOM = ' ?[^(\\s|.,!?…。，、।۔،)]+';
const BAILING = `'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${PUNCTUATION}|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`;
const SEED = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${TAIL}`;

/** What llama.cpp takes where a file names nothing. */
export const DEFAULT_PRE_TOKENIZER: PreTokenizer = {
  names: ['default'],
  patterns: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]'],
};

const PRE_TOKENIZERS: readonly PreTokenizer[] = [
  {
    names: ['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2', 'jina-v5-nano'],
    patterns: [LLAMA3],
    ignoreMerges: true,
    addBos: true,
  },
  { names: ['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe'], patterns: [LLAMA3] },
  { names: ['qwen2', 'deepseek-r1-qwen', 'stablelm2'], patterns: [QWEN2], nfc: true },
  { names: ['kormo', 'f2llmv2', 'megrez', 'hunyuan', 'solar-open', 'grok-2'], patterns: [QWEN2] },
  { names: ['qwen35'], patterns: [QWEN35], nfc: true },
  {
    names: [
      ...['gpt-2', 'phi-2', 'mpt', 'jais', 'mellum', 'exaone4', 'trillion', 'granite-docling', 'modern-bert'],
      ...['jina-es', 'jina-de', 'jina-v1-en', 'jina-v2-es', 'jina-v2-de', 'jina-v2-code', 'roberta-bpe', 'gigachat'],
      'a.x-4.0',
    ],
    patterns: [GPT2],
  },
  { names: ['olmo'], patterns: [GPT2], nfc: true },
  {
    names: ['starcoder', 'refact', 'command-r', 'smollm', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'],
    patterns: ['\\p{N}', GPT2],
  },
  { names: ['tekken'], patterns: [TEKKEN], ignoreMerges: true, addBos: true },
  { names: ['gpt-4o', 'llama4', 'kanana2', 'talkie', 'minimax-m2'], patterns: [GPT4O] },
  { names: ['granite-embed-multi-97m'], patterns: [GPT4O], ignoreMerges: true },
  { names: ['tiny_aya', 'cohere2moe'], patterns: ['\\d{1,3}(?=(?:\\d{3})*\\b)', GPT4O] },
  { names: ['deepseek-v3', 'hunyuan-dense', 'joyai-llm', 'hy_v4'], patterns: DEEPSEEK3 },
  { names: ['deepseek-llm'], patterns: DEEPSEEK_LLM },
  { names: ['afmoe'], patterns: AFMOE },
  { names: ['youtu'], patterns: YOUTU, ignoreMerges: true },
  { names: ['kimi-k2'], patterns: [KIMI] },
  { names: ['jais-2'], patterns: [JAIS2] },
  { names: ['exaone-moe'], patterns: [EXAONE_MOE] },
  { names: ['spark2_5'], patterns: SPARK },
  { names: ['chameleon'], patterns: CHAMELEON, addBos: true },
  { names: ['ufakzeka'], patterns: [QWEN2.slice(CONTRACTIONS.length + 1)] },
  { names: ['deepseek-coder'], patterns: DEEPSEEK_CODER },
  { names: ['falcon'], patterns: FALCON },
  { names: ['bloom', 'poro-chat', 'gpt3-finnish'], patterns: [BLOOM] },
  { names: ['viking'], patterns: [BLOOM, '\\p{N}'] },
  { names: ['bailingmoe', 'bailingmoe2', 'llada-moe'], patterns: [BAILING] },
  { names: ['seed-coder'], patterns: [SEED] },
  { names: ['superbpe'], patterns: ['\\p{N}+', '(?=(\\d{3})+(?!\\d))'] },
  { names: ['laguna'], patterns: ['[^\\n]+|[\\n]+', QWEN2] },
  { names: ['minicpm5'], patterns: ['\\p{N}{1,3}', words('\\p{N}+')], ignoreMerges: true },
];

/** Null for a name that is not known. */
export function preTokenizer(name: string): PreTokenizer | null {
  if (name === 'default') return DEFAULT_PRE_TOKENIZER;
  return PRE_TOKENIZERS.find(({ names }) => names.includes(name)) ?? null;
}

/**
 * The name under which llama.cpp knows how a tokenizer.json cuts text.
 * @throws TokenizerError where it has none.
 */
export function preTokenizerOf(json: Json, ignoreMerges: boolean): string {
  const patterns = patternsOf(json['pre_tokenizer']);
  const nfc = JSON.stringify(json['normalizer'] ?? null).includes('"NFC"');
  const same = PRE_TOKENIZERS.filter((row) => `${row.patterns}` === `${patterns}`);
  const best =
    same.find((row) => (row.ignoreMerges ?? false) === ignoreMerges && (row.nfc ?? false) === nfc) ??
    same.find((row) => (row.nfc ?? false) === nfc) ??
    same[0];
  if (!best)
    throw new TokenizerError(
      `GGUF has no name for how this tokenizer.json cuts text (${JSON.stringify(patterns).slice(0, 200)}), so it can't be written`,
    );
  return best.names[0];
}

/** The patterns of a pre-tokenizer, in the words of the table. */
function patternsOf(part: unknown): string[] {
  if (typeof part !== 'object' || part === null) return [];
  const { type, pretokenizers, pattern, use_regex: useRegex, individual_digits: digits } = part as Json;
  if (type === 'Sequence' && Array.isArray(pretokenizers)) return pretokenizers.flatMap(patternsOf);
  if (type === 'Digits') return [digits === true ? '\\p{N}' : '\\p{N}+'];
  if (type === 'ByteLevel') return useRegex === false ? [] : [GPT2];
  if (type === 'Split' && typeof pattern === 'object' && pattern !== null) {
    const { Regex: regex, String: text } = pattern as Json;
    return [String(regex ?? text)];
  }
  return [String(type)];
}
