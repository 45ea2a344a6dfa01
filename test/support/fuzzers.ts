/**
 * @file Damaged files of every kind. Each must be read, or refused by a typed error: nothing else may come of it,
 * whatever is in it.
 */
import { createHash } from 'node:crypto';
import { ChatTemplate } from '../../src/chat/chat-template.ts';
import { readSafetensors } from '../../src/checkpoint/safetensors.ts';
import { readConfig } from '../../src/families/read-config.ts';
import { createCache } from '../../src/kvcache/policies.ts';
import type { CacheShape } from '../../src/kvcache/shape.ts';
import { restoreCache, snapshotCache } from '../../src/kvcache/snapshot.ts';
import { createApp, type ServerApp } from '../../src/server/app.ts';
import { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { KeyholdError } from '../../src/util/errors.ts';
import { llamaLora, openBase, openTestAdapter, type TestAdapter } from './adapters.ts';
import { TEMPLATES } from './chat-templates.ts';
import { CASES, configJson } from './family-cases.ts';
import { damagedGguf, openDamaged } from './gguf-mutations.ts';
import { bytesSource, f32, safetensorsFile } from './safetensors-bytes.ts';
import { loadChatModel, post, servedModel } from './served.ts';
import { tokenizerKinds } from './tokenizers.ts';

export type Random = (below: number) => number;

/** Opens one damaged file. Gives whether it was refused; throws what is no typed error. */
export type Fuzzer = (random: Random) => Promise<'opened' | 'refused'>;

const VALUES: readonly unknown[] = [
  ...[null, true, false, 0, 1, -1, 0.5, 7, 2 ** 31, 2 ** 53, 1e308, '', 'x', '0', 'constructor', '__proto__'],
  ...[[], {}, [[]], [null], [0], ['a'], { type: 'x' }, { type: 'Sequence' }, 'a'.repeat(2000), '(a+)+$', '\ud800'],
];

/** Changes some values of a JSON value, at any depth. */
export function mutateJson(json: unknown, random: Random): unknown {
  const copy: { root: unknown } = { root: structuredClone(json) };
  for (let edits = 1 + random(3); edits > 0; edits--) {
    let parent: Record<string, unknown> = copy as Record<string, unknown>;
    let key = 'root';
    while (random(4) > 0 && typeof parent[key] === 'object' && parent[key] !== null) {
      const next = parent[key] as Record<string, unknown>;
      const keys = Object.keys(next);
      if (keys.length === 0) break;
      parent = next;
      key = keys[random(keys.length)];
    }
    const others = Object.keys(parent);
    const kind = random(4);
    if (kind === 0 && Array.isArray(parent)) parent.splice(Number(key), 1);
    else if (kind === 0 && key !== 'root') delete parent[key];
    else if (kind === 1) parent[key] = structuredClone(parent[others[random(others.length)]]);
    else parent[key] = structuredClone(VALUES[random(VALUES.length)]);
  }
  return copy.root;
}

/** Changes some bytes, or cuts the end off. */
function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = bytes.slice();
  for (let edits = 1 + random(4); edits > 0; edits--) {
    const at = random(copy.length);
    if (random(8) === 0) return copy.slice(0, at);
    copy[at] = random(2) === 0 ? copy[at] ^ (1 << random(8)) : random(256);
  }
  return copy;
}

async function outcome(open: () => unknown): Promise<'opened' | 'refused'> {
  try {
    await open();
    return 'opened';
  } catch (error) {
    if (error instanceof KeyholdError) return 'refused';
    throw error;
  }
}

const pick = <T>(list: readonly T[], random: Random): T => list[random(list.length)];

const kinds = Object.values(tokenizerKinds());
const tokenizer: Fuzzer = (random) => {
  const json = mutateJson(pick(kinds, random), random) as Record<string, unknown>;
  return outcome(() => {
    const made = Tokenizer.fromJson(
      json,
      random(4) === 0 ? (mutateJson({ bos_token: 'x' }, random) as object as never) : {},
    );
    made.decode(made.encode('the a <s> \n😀 中'), { skipSpecialTokens: false });
  });
};

const WORDS = [
  '{%',
  '%}',
  '{{',
  '}}',
  '|',
  'for',
  'if',
  'endfor',
  '(',
  ')',
  '[',
  ']',
  '.',
  "'",
  '*',
  '-',
  'x',
  '1',
  '~',
  ':',
];
const template: Fuzzer = (random) => {
  const { template: source, tokens } = pick(TEMPLATES, random);
  let text = source;
  for (let edits = 1 + random(3); edits > 0; edits--) {
    const at = random(text.length + 1);
    text = text.slice(0, at) + (random(3) > 0 ? pick(WORDS, random) : '') + text.slice(at + random(5));
  }
  const messages = mutateJson(
    [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
    ],
    random,
  );
  return outcome(() =>
    new ChatTemplate(text, tokens).render(messages as never, { variables: { x: VALUES[random(VALUES.length)] } }),
  );
};

const weights = safetensorsFile({ a: f32([2, 3], [1, 2, 3, 4, 5, 6]), b: f32([4], [1, 2, 3, 4]), c: f32([], [7]) });
const safetensors: Fuzzer = (random) =>
  outcome(async () => {
    const { tensors } = await readSafetensors(bytesSource(mutateBytes(weights, random)));
    for (const tensor of tensors.values())
      await tensor.readFloats(
        0,
        tensor.shape.reduce((a, b) => a * b, 1),
      );
  });

const config: Fuzzer = (random) =>
  outcome(() => readConfig(Object(mutateJson(configJson(pick(CASES, random)), random)), 'fuzz: config.json'));

const gguf: Fuzzer = async (random) => ((await openDamaged(damagedGguf(random))) === 'opened' ? 'opened' : 'refused');

let base: ReturnType<typeof openBase> | undefined;
const adapter: Fuzzer = async (random) => {
  base ??= openBase('llama');
  const { base: model } = await base;
  const { settings, tensors } = llamaLora(1);
  const made = { settings: mutateJson(settings, random), tensors } as TestAdapter;
  return outcome(async () => (await openTestAdapter(made)).readFor(model));
};

const LAYER = {
  slots: true,
  groups: 1,
  heads: 2,
  keySize: 4,
  valueSize: 4,
  attentionScale: 0.5,
  window: null,
  rotation: null,
};
const SHAPE: CacheShape = { layers: [LAYER, LAYER] };
let saved: Promise<Uint8Array> | undefined;
/** Half of them have a checksum that fits, as a program would write it. */
const snapshot: Fuzzer = async (random) => {
  saved ??= snapshotCache(createCache(SHAPE, { policy: 'h2o', cacheLength: 8 }), 'fuzz');
  const bytes = (await saved).slice(0, -32);
  const length = new DataView(bytes.buffer).getUint32(12, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + length)));
  const text = new TextEncoder().encode(JSON.stringify(random(4) === 0 ? header : mutateJson(header, random)));
  const padding = (8 - (text.length % 8)) % 8;
  const body = bytes.subarray(16 + Math.ceil(length / 8) * 8);
  let file = new Uint8Array([...bytes.subarray(0, 16), ...text, ...new Uint8Array(padding), ...body]);
  new DataView(file.buffer).setUint32(12, text.length, true);
  if (random(4) === 0) file = mutateBytes(file, random) as typeof file;
  const checksum = createHash('sha256').update(file).digest();
  return outcome(() => restoreCache(new Uint8Array([...file, ...checksum]), SHAPE, 'fuzz'));
};

const user = (content: unknown) => ({ role: 'user', content });
const LIMITS = { model: 'tiny', max_tokens: 3, temperature: 0.5, top_p: 0.9, seed: 1 };
const TOOL = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } };
const SCHEMA = { type: 'object', properties: { a: { enum: [1, 'x'] } }, required: ['a'], additionalProperties: false };
/** Bodies of all routes that take one. */
const BODIES: readonly (readonly [path: string, body: object])[] = [
  [
    '/v1/chat/completions',
    {
      ...{ ...LIMITS, messages: [{ role: 'system', content: 'a' }, user([{ type: 'text', text: 'b' }])], stop: ['x'] },
      ...{ n: 1, logprobs: true, top_logprobs: 2, logit_bias: { 5: 1 }, session_id: 'a', top_k: 5, min_p: 0.1 },
    },
  ],
  ['/v1/chat/completions', { ...LIMITS, messages: [user('a')], tools: [TOOL], tool_choice: 'auto', stream: true }],
  [
    '/v1/chat/completions',
    {
      ...{ ...LIMITS, messages: [user('a')], stream: true, stream_options: { include_usage: true } },
      response_format: { type: 'json_schema', json_schema: { name: 'a', schema: SCHEMA } },
    },
  ],
  ['/v1/completions', { ...LIMITS, prompt: ['a', 'b'], logprobs: 2, ignore_eos: true, cache: 'short' }],
  ['/v1/completions', { ...LIMITS, prompt: [1, 2, 3], stream: true, repetition_penalty: 1.1 }],
  [
    '/v1/messages',
    {
      ...{ ...LIMITS, system: [{ type: 'text', text: 'a' }], stream: true, stop_sequences: ['x'] },
      messages: [user([{ type: 'text', text: 'a' }]), { role: 'assistant', content: 'b' }, user('c')],
    },
  ],
  ['/v1/messages/count_tokens', { model: 'tiny', messages: [user('a')] }],
  ['/v1/responses', { model: 'tiny', input: [{ ...user('a'), type: 'message' }], max_output_tokens: 3, stream: true }],
  ['/v1/embeddings', { model: 'tiny', input: ['a'] }],
  ['/tokenize', { model: 'tiny', messages: [user('a')] }],
  ['/detokenize', { model: 'tiny', tokens: [1, 2] }],
];

let app: Promise<ServerApp> | undefined;

/**
 * A body that was changed in its values or in its bytes. The server must answer it or say what is wrong: faults of its
 * own are errors.
 */
async function request(random: Random): Promise<'opened' | 'refused'> {
  app ??= loadChatModel().then((model) => createApp({ models: [servedModel(model, { maxTokens: 4 }).one] }));
  const [path, body] = BODIES[random(BODIES.length)];
  let text = JSON.stringify(mutateJson(body, random)) ?? '';
  if (random(8) === 0) {
    const at = random(text.length + 1);
    text = text.slice(0, at) + '{}[]",:\\\0'[random(9)] + text.slice(at + random(3));
  }
  const response = await (await app).fetch(post(path, text));
  const answer = await response.text();
  if (response.status >= 500 || /"type": ?"(server|api)_error"/.test(answer))
    throw new Error(`${path} ${text}\n${response.status} ${answer}`);
  return response.ok ? 'opened' : 'refused';
}

export const FUZZERS: Readonly<Record<string, Fuzzer>> = {
  adapter,
  config,
  gguf,
  request,
  safetensors,
  snapshot,
  template,
  tokenizer,
};
