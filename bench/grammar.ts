/**
 * @file `npm run bench:grammar [FOLDER]`: times of compiling schemas, and of the masks of their texts, with a
 * vocabulary of 128,000 tokens. FOLDER: schemas of MaskBench (maskbench/data of guidance-ai/jsonschemabench), one of 16
 * is taken; without it, the schemas below.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type JsonSchema, makeGrammar } from '../src/grammar/format.ts';
import { FormatSession } from '../src/grammar/session.ts';
import { TokenTrie } from '../src/grammar/token-trie.ts';
import { FormatError } from '../src/util/errors.ts';
import { Random } from '../src/util/random.ts';

const TOKENS = 128_000;
const STEPS = 100;
const EVERY = 16;
const encoder = new TextEncoder();

/** Bytes, words and signs, drawn so that about as many share their beginnings as in vocabularies of models. */
function vocabulary(): TokenTrie {
  const random = new Random(1);
  const letters = 'etaoinshrdlucmfwypvbgkqjxz';
  const signs = [
    '"',
    '":',
    '",',
    '{"',
    '"}',
    '}',
    '{',
    '[',
    ']',
    ',',
    ', ',
    '": "',
    '0',
    '12',
    '345',
    '  ',
    '\n',
    '-',
    'é',
    '中',
  ];
  const words = new Set<string>();
  const pick = <T>(from: ArrayLike<T>, power = 1): T => from[Math.floor(random.next() ** power * from.length)];
  while (words.size < TOKENS - 256) {
    let word = random.next() < 0.5 ? ' ' : '';
    const length = 1 + Math.floor(random.next() * 9);
    for (let i = 0; i < length; i++) word += pick(letters, 2);
    if (random.next() < 0.05) word += pick(signs);
    if (random.next() < 0.03) word = pick(signs) + word;
    words.add(word);
  }
  const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  return new TokenTrie([...bytes, ...Array.from(words, (word) => encoder.encode(word))]);
}

interface Case {
  readonly schema: JsonSchema;
  /** A text that satisfies it; without it, tokens are drawn from the masks. */
  readonly text?: Uint8Array;
}

const OWN: readonly JsonSchema[] = [
  true,
  {
    type: 'object',
    properties: {
      name: { type: 'string', maxLength: 200 },
      mail: { format: 'email' },
      day: { format: 'date-time' },
      share: { type: 'number', minimum: 0, maximum: 99.5 },
      tags: { type: 'array', items: { type: 'string', pattern: '^[a-z]+(-[a-z]+)*$' } },
    },
    required: ['name', 'mail', 'day', 'share'],
    additionalProperties: { type: 'string' },
  },
  {
    $defs: { node: { type: 'object', properties: { value: { enum: ['a', 'b', 7] }, next: { $ref: '#/$defs/node' } } } },
    $ref: '#/$defs/node',
  },
  {
    anyOf: [
      { type: 'array', items: { type: 'integer' }, maxItems: 40 },
      { type: 'string', format: 'uri' },
    ],
  },
];

function cases(folder: string | undefined): Case[] {
  if (folder === undefined) return Array.from({ length: 12 }, () => OWN.map((schema) => ({ schema }))).flat();
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return files
    .sort()
    .filter((_, i) => i % EVERY === 0)
    .map((file) => {
      const { schema, tests = [] } = JSON.parse(readFileSync(join(folder, file), 'utf8'));
      const valid = tests.find((each: { valid: boolean }) => each.valid);
      return { schema, ...(valid ? { text: encoder.encode(JSON.stringify(valid.data)) } : {}) };
    });
}

/** The longest token that the mask allows and the text goes on with; null: there is none. */
function nextToken(trie: TokenTrie, mask: Uint32Array, text: Uint8Array, from: number): number | null {
  let [node, best]: [number, number | null] = [0, null];
  for (let i = from; i < text.length; i++) {
    let child = node + 1;
    while (child < trie.after[node] && trie.byte[child] !== text[i]) child = trie.after[child];
    if (child >= trie.after[node]) break;
    node = child;
    for (let t = trie.first[node]; t < trie.first[node + 1]; t++) {
      const token = trie.tokens[t];
      if ((mask[token >>> 5] >>> (token & 31)) & 1) best = token;
    }
  }
  return best;
}

function drawn(mask: Uint32Array, random: Random): number {
  const tokens: number[] = [];
  mask.forEach((word, i) => {
    for (let bit = 0; bit < 32; bit++) if ((word >>> bit) & 1) tokens.push(32 * i + bit);
  });
  return tokens[Math.floor(random.next() * tokens.length)];
}

const begin = performance.now();
const trie = vocabulary();
console.log(`${TOKENS} tokens, ${trie.byte.length} nodes: ${(performance.now() - begin).toFixed(0)} ms`);
const [compile, masks]: [number[], number[]] = [[], []];
let refused = 0;
for (const [i, { schema, text }] of cases(process.argv[2]).entries()) {
  const random = new Random(i);
  try {
    let start = performance.now();
    const grammar = makeGrammar({ type: 'json_schema', schema }, trie);
    compile.push(performance.now() - start);
    const session = new FormatSession(grammar, []);
    for (let step = 0, at = 0; step < STEPS && !session.ended; step++) {
      start = performance.now();
      const mask = session.mask();
      masks.push(performance.now() - start);
      if (text !== undefined && at >= text.length) break;
      const token = text === undefined ? drawn(mask, random) : nextToken(trie, mask, text, at);
      // A valid text that is never written, such as a rare form of a format.
      if (token === null) break;
      at += trie.bytes[token]!.length;
      session.accept(token);
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    refused++;
  }
}
const line = (name: string, times: number[]) => {
  times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))].toFixed(2);
  console.log(`${name}: ${times.length}, p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms`);
};
line('compile', compile);
line('masks', masks);
if (refused > 0) console.log(`${refused} schemas are refused`);
