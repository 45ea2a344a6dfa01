/**
 * Text is cut as llama.cpp cuts it, by each name of a pre-tokenizer: a tiny vocabulary of pieces of the texts shows
 * where the cuts are. libllama comes with the package of the ggml engine; where it is not there, this is skipped.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bindLlama, openVocabulary } from '../bench/libllama.ts';
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import { readGgufHeader } from '../src/checkpoint/gguf/header.ts';
import { Metadata } from '../src/checkpoint/gguf/metadata.ts';
import { readVocabulary } from '../src/checkpoint/gguf/tokenizer/read-vocabulary.ts';
import { ggufTokenizerJson } from '../src/checkpoint/gguf/tokenizer/tokenizer-json.ts';
import { Tokenizer } from '../src/tokenizer/tokenizer.ts';
import { f32Tensor, ggufFile } from './support/gguf-bytes.ts';
import { hasLlama } from './support/libllama.ts';
import { NASTY_TEXTS } from './support/nasty-texts.ts';
import { bytesSource } from './support/safetensors-bytes.ts';
import { tempFolder } from './support/temp-folder.ts';

const TEXTS = [
  ...NASTY_TEXTS,
  "Hello World, it's 1234567 o'clock; hello's 12345 漢字かな한국 日本語123 hello\u3000world\n\n  x\t\ty    z  \r\n\r\n end",
  "Ankara'da ABC foo/bar//\n/x",
  '1 22 333 4444 55555 666666',
  'สวัสดี 123 привет Мир ελληνικά',
  'a    b          c                    d',
];

/**
 * A name of each row of the table, and the texts that can be compared. llama.cpp runs rewritten forms of some patterns.
 */
const ALL = /^/;
const NO_MARKS = /^\P{M}*$/u;
const CASES: readonly (readonly [name: string, texts: RegExp])[] = [
  ...['default', 'llama-bpe', 'gpt-2', 'smollm', 'deepseek-v3', 'falcon', 'bloom', 'viking', 'afmoe', 'exaone-moe'].map(
    (name) => [name, ALL] as const,
  ),
  ...[
    'chameleon',
    'jais-2',
    'granite-embed-multi-97m',
    'bailingmoe',
    'seed-coder',
    'superbpe',
    'laguna',
    'minicpm5',
  ].map((name) => [name, ALL] as const),
  // The tokenizer of Qwen brings text into composed form first.
  ['qwen2', NO_MARKS],
  ['qwen35', NO_MARKS],
  // Marks belong to words in the original patterns.
  ['tekken', NO_MARKS],
  ['gpt-4o', NO_MARKS],
  // So do changes of case.
  ['kimi-k2', /^(?!.*\p{Ll}\p{Lu})\P{M}*$/su],
  ['youtu', /^(?!.*\p{Ll}\p{Lu})/su],
  // The original cuts at wide spaces, too.
  ['deepseek-llm', /^[^\u2003\u3000]*$/],
  ['deepseek-coder', /^[^\u2003\u3000]*$/],
  // A number that touches letters has no right end in the original.
  ['tiny_aya', /^(?!.*(?:\d\p{L}|\p{Ll}\p{Lu}))\P{M}*$/su],
];

/** GPT-2's letters for bytes. */
const LETTERS = (() => {
  const isPrinted = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let others = 0;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(isPrinted(b) ? b : 256 + others++));
})();

/** Every two and four bytes that follow each other in a text are a token. */
function vocabularyOfTexts(): { tokens: string[]; merges: string[] } {
  const tokens = new Set(LETTERS);
  const merges: string[] = [];
  for (const half of [1, 2])
    for (const text of TEXTS) {
      const bytes = Array.from(new TextEncoder().encode(text), (b) => LETTERS[b]);
      for (let i = 0; i + 2 * half <= bytes.length; i++) {
        const [a, b] = [bytes.slice(i, i + half).join(''), bytes.slice(i + half, i + 2 * half).join('')];
        if (tokens.has(a + b) || !tokens.has(a) || !tokens.has(b)) continue;
        tokens.add(a + b);
        merges.push(`${a} ${b}`);
      }
    }
  return { tokens: [...tokens], merges };
}

describe.runIf(hasLlama())('libllama', async () => {
  const folder = await tempFolder('libllama-tokens');
  const llama = bindLlama(openGgml());
  const { tokens, merges } = vocabularyOfTexts();

  it.each(CASES)('cuts texts as we do by the name %s', async (name, comparable) => {
    const bytes = ggufFile(
      {
        'general.architecture': 'llama',
        'llama.context_length': 128,
        'llama.embedding_length': 32,
        'llama.block_count': 1,
        'llama.feed_forward_length': 32,
        'llama.attention.head_count': 4,
        'llama.attention.layer_norm_rms_epsilon': 1e-5,
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': name,
        'tokenizer.ggml.tokens': tokens,
        'tokenizer.ggml.merges': merges,
        'tokenizer.ggml.bos_token_id': 0,
        'tokenizer.ggml.eos_token_id': 0,
        'tokenizer.ggml.add_bos_token': false,
      },
      { 'token_embd.weight': f32Tensor([1], [1]) },
    );
    const file = join(folder, `${name}.gguf`);
    await writeFile(file, bytes);
    const { metadata } = await readGgufHeader(bytesSource(bytes, name));
    const own = Tokenizer.fromJson(ggufTokenizerJson(readVocabulary(new Metadata(metadata, name), 'llama')!), {});
    const theirs = openVocabulary(llama, file);
    const texts = TEXTS.filter((text) => comparable.test(text));
    expect(texts.length).toBeGreaterThan(comparable === ALL ? 75 : 60);
    for (const text of texts) expect(own.encode(text), JSON.stringify(text)).toEqual(theirs.encode(text));
    theirs.close();
  });
});
