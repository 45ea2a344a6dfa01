/**
 * @file `npm run bench:policies`: what eviction costs. Caches that are full and give a slot up at each step decode in
 * turns, so that a slow minute of the machine hits all of them. Of the two tokens of a turn the second is timed: as
 * usual, a step of the same cache came before it.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { BUFFERS, type BufferKind } from '../src/kvcache/buffers.ts';
import { type CacheOptions, type KVCache, type LanguageModel, loadModel } from '../src/node.ts';
import { toBase64 } from '../src/util/base64.ts';
import { promptTokens } from './protocol.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import { shapes } from './shapes.ts';

const POLICIES = ['h2o', 'snapkv', 'tova', 'keydiff', 'expected'];
/** So few slots that attending to them costs next to nothing. */
const FEW = 16;
/** Tokens that are read for each slot, so that each further one makes another go. */
const TOKENS = 2;
const WARM_UP = 4;

const options = new Command('bench:policies')
  .option('--shape <name>', `of ${Object.keys(shapes).join(', ')}`, 'llama-3.2-1b')
  .option('--slots <n>', 'of each cache', '1024')
  .option('--steps <n>', 'of each cache', '64')
  .option('--threads <n>', 'of the runtime', String(availableParallelism()))
  .addOption(new Option('--buffer <kind>', 'of all caches').choices(Object.keys(BUFFERS)).default('float32'))
  .option('--policies <names>', 'besides lastrec, between semicolons', POLICIES.join(';'))
  .option('--prompts <n>', 'how many prompts each cache reads, in turns', '0')
  .option('--keep <folder>', 'keep the prepared weights there, for further runs')
  .parse()
  .opts<{
    shape: string;
    slots: string;
    steps: string;
    threads: string;
    buffer: BufferKind;
    policies: string;
    prompts: string;
    keep?: string;
  }>();

const config = shapes[options.shape];
if (!config) throw new Error(`there is no shape ${options.shape}; there are ${Object.keys(shapes).join(', ')}`);
const slots = Number(options.slots);
const steps = Number(options.steps);

const folder = options.keep ?? mkdtempSync(join(tmpdir(), 'keyhold-bench-'));
mkdirSync(folder, { recursive: true });
process.on('exit', () => {
  if (!options.keep) rmSync(folder, { recursive: true, force: true });
});
process.on('SIGINT', () => process.exit(130));

/** A cache whose `append` is timed. */
class Case {
  readonly name: string;
  readonly cache: KVCache;
  /** ms, a step each. */
  readonly whole: number[] = [];
  readonly bookkeeping: number[] = [];
  #appending = 0;

  constructor(model: LanguageModel, name: string, policy: string, cacheLength: number) {
    this.name = name;
    this.cache = model.createCache(optionsOf(policy, cacheLength));
    const append = this.cache.append.bind(this.cache);
    this.cache.append = (chunk, lease) => {
      const begin = performance.now();
      append(chunk, lease);
      this.#appending = performance.now() - begin;
    };
  }

  async turn(model: LanguageModel, token: number, count: boolean): Promise<void> {
    await model.step(this.cache, [[token]]);
    const begin = performance.now();
    await model.step(this.cache, [[token]]);
    const whole = performance.now() - begin;
    if (!count) return;
    this.whole.push(whole);
    this.bookkeeping.push(this.#appending);
  }

  /** What a step takes apart from the bookkeeping: the graph. */
  get graph(): number[] {
    return this.whole.map((whole, i) => whole - this.bookkeeping[i]!);
  }
}

await using model = await loadModel(randomCheckpoint(config, 1), {
  weights: 'int4',
  threads: Number(options.threads),
  cacheDir: folder,
});
const few = new Case(model, `lastrec, ${FEW} slots`, 'lastrec', FEW);
const full = ['lastrec', ...options.policies.split(';')].map((policy) => new Case(model, policy, policy, slots));
const cases = [few, ...full];
const prompt = promptTokens(TOKENS * slots, config.vocab_size);
for (const { cache } of cases) await model.prefill(cache, prompt);
for (let step = 0; step < WARM_UP + steps; step++)
  for (const one of cases) await one.turn(model, prompt[step]!, step >= WARM_UP);
report();
await timePrompts(Number(options.prompts));

/**
 * The cache of a policy. Random weights have nothing to measure for `routed`: every fourth group has half of all slots,
 * and keys that are rounded with a feedback of zeros.
 */
function optionsOf(policy: string, cacheLength: number): CacheOptions {
  const plain = { policy, cacheLength, buffer: options.buffer };
  if (!policy.startsWith('routed')) return plain;
  const { num_hidden_layers: layers, num_key_value_heads: groups = config!.num_attention_heads } = config!;
  const [{ keySize }] = model.createCache({ cacheLength }).shape.layers;
  const all = Array.from({ length: layers * groups }, (_, i) => (i % 4 === 0 ? 1 : 0));
  const byLayer = <T>(numbers: readonly T[]) =>
    Array.from({ length: layers }, (_, l) => numbers.slice(l * groups, (l + 1) * groups));
  const slotsOf = (reads: number) => Math.floor(reads ? 2 * cacheLength : (2 / 3) * cacheLength);
  const rounding = { feedback: toBase64(new Uint8Array(keySize * (keySize - 1))) };
  const roundings = byLayer(all.map((reads) => (reads ? rounding : null)));
  const routes = { slots: byLayer(all.map(slotsOf)), retrieval: byLayer(all), roundings };
  return { ...plain, routes };
}

/** Prompts that make slots go, through all caches in turns. */
async function timePrompts(rounds: number): Promise<void> {
  if (rounds === 0) return;
  const ms = new Map(full.map(({ name }) => [name, [] as number[]]));
  for (let round = 0; round < rounds; round++)
    for (const { name } of full) {
      const cache = model.createCache(optionsOf(name, slots));
      const begin = performance.now();
      await model.prefill(cache, prompt);
      ms.get(name)!.push(performance.now() - begin);
      cache.dispose();
    }
  print(`\na prompt of ${prompt.length} tokens, medians of ${rounds}`);
  const plain = ms.get(full[0]!.name)!;
  for (const [name, times] of ms) {
    // Of one round each, so that both were measured in the same minute.
    const ratio = median(times.map((time, i) => plain[i]! / time));
    print(
      `${name}: ${((1000 * prompt.length) / median(times)).toFixed(1)} tokens a second, ${ratio.toFixed(2)}x of lastrec`,
    );
  }
}

function report(): void {
  const [plain] = full as [Case];
  // Of one turn each, so that both were measured in the same moment.
  const more = (a: Case, b: Case) => median(a.graph.map((ms, i) => ms - b.graph[i]!));
  const attention = more(plain, few);
  print(`${options.shape}, int4, ${slots} slots in ${options.buffer}, medians of ${steps} steps`);
  print(`attention itself: ${attention.toFixed(2)} ms a step (lastrec with ${slots} slots less lastrec with ${FEW})\n`);
  const rows = [
    ['policy', 'ms a step', 'bookkeeping', 'of the step', 'its mean', 'graph beyond lastrec', 'of attention'],
  ];
  for (const one of cases) {
    const bookkeeping = median(one.bookkeeping);
    const beyond = more(one, plain);
    rows.push([
      one.name,
      median(one.whole).toFixed(2),
      bookkeeping.toFixed(2),
      percent(bookkeeping / median(one.whole)),
      // Scores that are made anew once in a while are in no median.
      mean(one.bookkeeping).toFixed(2),
      ...(one === few || one === plain ? ['', ''] : [beyond.toFixed(2), percent(beyond / attention)]),
    ]);
  }
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((row) => row[c]!.length)));
  for (const row of rows)
    print(row.map((cell, c) => (c ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!))).join('  '));
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
