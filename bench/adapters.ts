/**
 * @file `npx tsx bench/compiled.ts adapters [--shape NAME] [--rank N] [--rounds N] [--weights FORMAT] [--threads N]
 * [--cases N] [--cache DIR]`: what live adapters on all linear layers cost a decode step. The cases take turns step by
 * step, so that whatever else the machine does hits all alike. With one thread the processor's own time is told as
 * well, which others' work disturbs less.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { AdapterChoice } from '../src/adapters/choice.ts';
import { openAdapter } from '../src/exports/adapters.ts';
import { type KVCache, type LanguageModel, loadModel, type WeightChoice } from '../src/node.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import { layout, shapes } from './shapes.ts';

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'llama-3.2-1b' },
    rank: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '60' },
    weights: { type: 'string', default: 'int4' },
    threads: { type: 'string' },
    cases: { type: 'string', default: '6' },
    cache: { type: 'string' },
  },
});
const config = shapes[values.shape]!;
const rank = Number(values.rank);
/** Tokens that lie in the cache before a step. */
const HELD = 128;

interface Case {
  readonly name: string;
  readonly rows: readonly AdapterChoice[];
  /** What it is compared with. */
  readonly base: string;
}

const ALL_CASES: readonly Case[] = [
  { name: '1 row', rows: [[]], base: '1 row' },
  { name: '1 row, an adapter', rows: ['a'], base: '1 row' },
  { name: '1 row, half of an adapter', rows: [{ name: 'a', weight: 0.5 }], base: '1 row' },
  { name: '1 row, two adapters', rows: [['a', 'b']], base: '1 row' },
  { name: '4 rows', rows: [[], [], [], []], base: '4 rows' },
  { name: '4 rows, three adapters', rows: ['a', 'b', 'c', 'a'], base: '4 rows' },
];

const CASES = ALL_CASES.slice(0, Number(values.cases));

const folder = values.cache ?? (await mkdtemp(join(tmpdir(), 'keyhold-bench-')));
try {
  await using model = await loadModel(randomCheckpoint(config, 1), {
    weights: values.weights as WeightChoice,
    cacheDir: folder,
    threads: values.threads === undefined ? undefined : Number(values.threads),
  });
  for (const [i, name] of ['a', 'b', 'c'].entries()) await model.adapters.load(await randomLora(i + 1), name);
  const caches = CASES.map(({ rows }) =>
    model.createCache({ policy: 'dense', batch: rows.length, cacheLength: HELD + 8 }),
  );
  const times = CASES.map(() => [] as number[]);
  const busy = CASES.map(() => [] as number[]);
  for (const [i, { rows }] of CASES.entries()) await fill(model, caches[i], rows);
  for (let round = 0; round < Number(values.rounds); round++)
    for (const [i, { rows }] of CASES.entries()) {
      const { wall, cpu } = await step(model, caches[i], rows);
      if (round < 2) continue;
      times[i].push(wall);
      busy[i].push(cpu);
    }
  console.log(
    `${values.shape}, ${values.weights}, rank ${rank} on all linear layers; ms a step (minimum, median), and more of each (and of rounds one by one)`,
  );
  report(times);
  if (values.threads === '1') {
    console.log('of the processor');
    report(busy);
  }
} finally {
  if (!values.cache) await rm(folder, { recursive: true, force: true });
}

async function fill(model: LanguageModel, cache: KVCache, rows: readonly AdapterChoice[]): Promise<void> {
  const prompt = Array.from({ length: HELD }, (_, i) => (i * 37) % config.vocab_size);
  await model.step(
    cache,
    rows.map(() => prompt),
    { rowAdapters: rows },
  );
}

async function step(
  model: LanguageModel,
  cache: KVCache,
  rows: readonly AdapterChoice[],
): Promise<{ wall: number; cpu: number }> {
  rows.forEach((_, row) => {
    cache.truncate(HELD, row);
  });
  const chunk = rows.map(() => [7]);
  const cpu = process.cpuUsage();
  const begin = performance.now();
  await model.step(cache, chunk, { rowAdapters: rows });
  const wall = performance.now() - begin;
  const { user, system } = process.cpuUsage(cpu);
  return { wall, cpu: (user + system) / 1000 };
}

function report(times: readonly number[][]): void {
  const figures = new Map(CASES.map(({ name }, i) => [name, [Math.min(...times[i]), median(times[i])]]));
  const byName = new Map(CASES.map(({ name }, i) => [name, times[i]]));
  for (const { name, base } of CASES) {
    const [own, of] = [figures.get(name)!, figures.get(base)!];
    const more = own.map((ms, i) => `${((ms / of[i] - 1) * 100).toFixed(1)} %`.padStart(8));
    // Of each round by itself, so that slow minutes count for both.
    const paired = median(byName.get(name)!.map((ms, i) => ms / byName.get(base)![i] - 1));
    more.push(`${(paired * 100).toFixed(1)} %`.padStart(8));
    console.log(`${name.padEnd(28)} ${own.map((ms) => ms.toFixed(2).padStart(8)).join('')} ${more.join('')}`);
  }
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[list.length >> 1];
}

/** LoRA on every matrix of every layer, as PEFT's `all-linear` has it. */
function randomLora(seed: number) {
  const matrices = layout(config).filter(({ shape, name }) => shape.length === 2 && /layers\.\d+\./.test(name));
  const tensors = matrices.flatMap(({ name, shape: [out, width] }) => {
    const module = `base_model.model.${name.replace('.weight', '')}`;
    return [
      { name: `${module}.lora_A.weight`, shape: [rank, width] },
      { name: `${module}.lora_B.weight`, shape: [out, rank] },
    ] as const;
  });
  const settings = { peft_type: 'LORA', r: rank, lora_alpha: rank, target_modules: 'all-linear' };
  const files = new Map<string, Uint8Array>([
    ['adapter_config.json', new TextEncoder().encode(JSON.stringify(settings))],
    ['adapter_model.safetensors', safetensors(tensors, seed)],
  ]);
  return openAdapter({
    name: `random LoRA ${seed}`,
    list: async () => [...files.keys()],
    async open(file) {
      const bytes = files.get(file);
      if (!bytes) return undefined;
      const read = async (at: number, length: number) => bytes.slice(at, at + length);
      return { name: file, size: bytes.length, read, close: async () => {} };
    },
  });
}

function safetensors(tensors: readonly { name: string; shape: readonly number[] }[], seed: number): Uint8Array {
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const { name, shape } of tensors) {
    const size = 4 * shape[0] * shape[1];
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + size] };
    end += size;
  }
  const text = JSON.stringify(header);
  const head = new TextEncoder().encode(text.padEnd(Math.ceil(text.length / 8) * 8));
  const file = new Uint8Array(8 + head.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(head.length), true);
  file.set(head, 8);
  const floats = new Float32Array(file.buffer, 8 + head.length, end / 4);
  let state = seed;
  for (let i = 0; i < floats.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    floats[i] = (state / 2 ** 31) * 0.02;
  }
  return file;
}
