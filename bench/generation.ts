/**
 * @file `npm run bench:generation`: what goes on from what is there need not compute it: second turns, repetitions,
 * batches. With the small model that comes along, each beside the plain way.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Conversation, type GenerateOptions, type LanguageModel, loadModel } from '../src/node.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const folder = 'models/tiny';
const cacheDir = mkdtempSync(join(tmpdir(), 'keyhold-bench-'));
process.on('exit', () => rmSync(cacheDir, { recursive: true, force: true }));

const template =
  '{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}' +
  '{% if add_generation_prompt %}assistant:{% endif %}';
const text = readFileSync(join(folder, 'validation.txt'), 'utf8');

await using model = await loadModel(folder, { weights: 'float32', cacheDir, generationConfig: false });
await secondTurn(model);
await repetition(model);
await batches(model);

/** Time to the first token of a second turn, where the first had 2,000 tokens. */
async function secondTurn(model: LanguageModel): Promise<void> {
  const shares: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const conversation = new Conversation(model, { template, maxNewTokens: 20 });
    const first = model.tokenizer.decode(model.tokenizer.encode(text).slice(0, 1960));
    await conversation.say(first).result();
    const asked = [...conversation.messages, { role: 'user', content: 'And what then?' }];
    const anew = await model.chat(asked, { template, maxNewTokens: 1 }).result();
    const going = await conversation.say('And what then?', { maxNewTokens: 1 }).result();
    if (anew.text !== going.text) throw new Error('the second turn is another than computed anew');
    shares.push(going.timings.prefillMs / anew.timings.prefillMs);
    if (round === 0)
      print(
        `second turn: ${going.usage.promptTokens} tokens, ${going.usage.promptTokens - going.usage.cachedTokens} of them new`,
      );
  }
  print(`  time to the first token: ${(100 * median(shares)).toFixed(1)} % of computing all of it`);
}

/** Tokens a second of a text that repeats itself. */
async function repetition(model: LanguageModel): Promise<void> {
  const list = Array.from({ length: 12 }, (_, i) => `And the sons of Asher by their families, number ${i}.\n`).join('');
  await compare(model, 'a list that repeats itself', list);
  await compare(model, 'an article, and its beginning once more', text.slice(0, 1500) + text.slice(0, 300));
}

async function compare(model: LanguageModel, name: string, prompt: string): Promise<void> {
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const options: GenerateOptions = { maxNewTokens: 160, eosTokenIds: [] };
    const plain = await model.generate(prompt, options).result();
    const ahead = await model.generate(prompt, { ...options, speculate: true }).result();
    if (plain.text !== ahead.text) throw new Error('speculation changed the text');
    ratios.push(plain.timings.decodeMs / ahead.timings.decodeMs);
    const { steps, proposed, accepted } = ahead.speculation!;
    if (round === 0) print(`${name}: ${accepted} of ${proposed} proposals were right, ${steps} steps for 160 tokens`);
  }
  print(`  prompt lookup: ${median(ratios).toFixed(2)} times as fast, the same text`);
}

/** Tokens a second of eight rows beside one. */
async function batches(model: LanguageModel): Promise<void> {
  const rates = new Map<number, number[]>();
  for (let round = 0; round < ROUNDS; round++)
    for (const rows of [1, 8]) {
      const prompts = Array.from({ length: rows }, (_, i) => text.slice(400 * i, 400 * i + 300));
      const begin = performance.now();
      const results = await model.generateBatch(prompts, { maxNewTokens: 64, eosTokenIds: [] }).results();
      const tokens = results.reduce((sum, end) => sum + (end.type === 'end' ? end.result.tokens.length : 0), 0);
      rates.set(rows, [...(rates.get(rows) ?? []), (tokens * 1000) / (performance.now() - begin)]);
    }
  const [one, eight] = [median(rates.get(1)!), median(rates.get(8)!)];
  print(
    `batches, prompts included: ${one.toFixed(0)} tokens/s alone, ${eight.toFixed(0)} with eight rows (${(eight / one).toFixed(2)} times)`,
  );
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
