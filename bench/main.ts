/**
 * @file `npm run bench`: this library and node-llama-cpp side by side, with random weights in real shapes.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { readBandwidth } from './bandwidth.ts';
import { type LoadOptions, RemoteSide, type Timing } from './protocol.ts';
import { countParameters, defaultShapes, shapes } from './shapes.ts';
import { parseWork, positionsOf, WORK_FORMS } from './works.ts';

const here = dirname(fileURLToPath(import.meta.url));
const SEED = 1;
/** Our programs of other sides, and the packages that they run. */
const peerPackages: Readonly<Record<string, string>> = {
  'peer.ts': 'node-llama-cpp',
  'peer-transformers.ts': '@huggingface/transformers',
};
/** Before each run, for threads of the other side to fall asleep. */
const PAUSE_MS = 250;
/** A side that uses more of a processor than this while it waits disturbs the other one. */
const IDLE_LIMIT = 0.1;

/** One line of the table; figures are medians in `unit`. */
interface Row {
  readonly shape: string;
  readonly work: string;
  readonly ours: number;
  readonly peer: number;
  /** Above 1, we are faster. */
  readonly ratio: number;
  /** `ms` for works that are waited for as a whole. */
  readonly unit: 'tok/s' | 'ms';
}

interface Options {
  readonly shapes: string[];
  readonly works: string[];
  readonly rounds: number;
  readonly threads: number;
  readonly json: boolean;
  readonly ours: string;
  readonly peer: string;
}

const options = new Command('bench')
  .option('--shapes <names>', `of ${Object.keys(shapes).join(', ')}`, shapeList, [...defaultShapes])
  .option('--works <names>', WORK_FORMS, workList, [
    'prefill-512',
    'decode-16',
    'decode-256',
    'decode-1024',
    'decode-4000',
  ])
  .option('--rounds <n>', 'runs of each work on each side', count, 5)
  .option('--threads <n>', 'for each side', count, availableParallelism())
  .option('--json', 'print an array of rows', false)
  .option('--ours <file>', 'the program of our side', join(here, 'ours.ts'))
  .option('--peer <file>', 'the program of the other side', join(here, 'peer.ts'))
  .parse()
  .opts<Options>();

const live = new Set<RemoteSide>();
let folder: string | undefined;

process.on('exit', () => {
  for (const side of live) side.kill();
  if (folder) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
] as const) {
  process.on(signal, () => process.exit(128 + number));
}

await main();

async function main(): Promise<void> {
  checkPositions();
  const needed = peerPackages[relative(here, resolve(options.peer))];
  if (needed) installPeers(needed);
  const machine = await describeMachine();
  if (!options.json) print(`${machine}\n`);
  folder = mkdtempSync(join(tmpdir(), 'keyhold-bench-'));
  const rows: Row[] = [];
  for (const shape of options.shapes) rows.push(...(await measureShape(shape)));
  print(options.json ? JSON.stringify(rows, null, 2) : table(rows));
}

/** What a model has no positions for would fail after all that was measured before. */
function checkPositions(): void {
  for (const shape of options.shapes)
    for (const name of options.works) {
      const { max_position_embeddings: most } = shapes[shape]!;
      const needed = positionsOf(parseWork(name));
      if (needed <= most) continue;
      log(`error: ${name} needs ${needed} positions, but ${shape} has ${most}.`);
      process.exit(1);
    }
}

/** All works of one shape. Both sides stay loaded; each does nothing while the other one runs. */
async function measureShape(shape: string): Promise<Row[]> {
  const config = shapes[shape]!;
  const home = join(folder!, shape);
  mkdirSync(home);
  log(`${shape}: ${(countParameters(config) / 1e6).toFixed(0)} M parameters`);

  const loading = { shape, threads: options.threads, seed: SEED, folder: home };
  const ours = start('ours', options.ours);
  const peer = start('peer', options.peer);
  try {
    for (const side of [ours, peer]) {
      const begin = performance.now();
      // What writing the weights takes of the memory is not to be counted later.
      await inNewProcess(side, (fresh) => fresh.load(loading));
      log(`  ${side.name} wrote its weights in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
      await side.load(loading);
    }
    const rows: Row[] = [];
    for (const work of options.works) rows.push(await measureWork(loading, work, ours, peer));
    for (const side of [ours, peer]) {
      if (side.idleLoad > IDLE_LIMIT) {
        log(`  warning: ${side.name} kept ${side.idleLoad.toFixed(2)} processors busy while it had nothing to do`);
      }
    }
    return rows;
  } finally {
    for (const side of [ours, peer]) {
      await side.end();
      live.delete(side);
    }
    rmSync(home, { recursive: true, force: true });
  }
}

async function measureWork(loading: LoadOptions, name: string, ours: RemoteSide, peer: RemoteSide): Promise<Row> {
  const work = parseWork(name);
  const unit = work.kind === 'prompt' || work.kind === 'open' ? 'ms' : 'tok/s';
  if (work.kind !== 'open') for (const side of [ours, peer]) await side.prepare(work);
  const figures: [number[], number[]] = [[], []];
  // A long prompt takes minutes.
  const rounds = work.kind === 'prompt' ? 1 : options.rounds;
  for (let round = 0; round < rounds; round++) {
    for (const [i, side] of [ours, peer].entries()) {
      await new Promise((done) => setTimeout(done, PAUSE_MS));
      const timing = work.kind === 'open' ? await inNewProcess(side, (fresh) => fresh.open(loading)) : await side.run();
      figures[i]!.push(unit === 'ms' ? timing.ms : rate(timing));
      if (round === 0) logDetails(`  ${name}: ${side.name}`, timing);
    }
    const [a, b] = figures.map((of) => of.at(-1)!.toFixed(1));
    log(`  ${name}, round ${round + 1}: ours ${a}, peer ${b} ${unit}`);
  }
  const [a, b] = [median(figures[0]), median(figures[1])];
  const ratio = unit === 'ms' ? b / a : a / b;
  return { shape: loading.shape, work: name, ours: round(a, 2), peer: round(b, 2), ratio: round(ratio, 3), unit };
}

/** Does something in another process of the same side. */
async function inNewProcess<T>(side: RemoteSide, use: (fresh: RemoteSide) => Promise<T>): Promise<T> {
  const fresh = start(side.name, side.file);
  try {
    return await use(fresh);
  } finally {
    await fresh.end();
    live.delete(fresh);
  }
}

function logDetails(who: string, { threads, memory }: Timing): void {
  if (threads !== undefined) log(`${who} runs on ${threads} threads`);
  if (!memory) return;
  const { before, now, peak, weights } = memory;
  const text = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  const beyond = (bytes: number) => `${text(bytes)} (${text(bytes - weights)} beyond its weights)`;
  log(`${who} had ${beyond(before)} resident before, has ${beyond(now)}, and had ${beyond(peak)} at its peak`);
}

function start(name: string, file: string): RemoteSide {
  const side = new RemoteSide(name, resolve(file));
  live.add(side);
  return side;
}

/** The peers are large and needed here only: they have their own package.json, installed at the first run. */
function installPeers(needed: string): void {
  if (existsSync(join(here, 'node_modules', needed, 'package.json'))) return;
  log(`installing ${needed} into bench/node_modules`);
  const args = ['ci', '--ignore-scripts', '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  const npm = process.env['npm_execpath'];
  const [command, rest] = npm?.endsWith('.js') ? [process.execPath, [npm, ...args]] : ['npm', args];
  const { status, error } = spawnSync(command, rest, {
    cwd: here,
    stdio: ['ignore', 2, 2],
    shell: command === 'npm' && process.platform === 'win32',
  });
  if (status !== 0) {
    log(`npm ci in ${here} failed${error ? `: ${error.message}` : ''}. Run it by hand to see why.`);
    process.exit(1);
  }
}

async function describeMachine(): Promise<string> {
  const bandwidth = await readBandwidth(options.threads);
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${model}, ${options.threads} threads, reads ${(bandwidth / 1e9).toFixed(1)} GB/s; Node ${process.versions.node}`;
}

function table(rows: readonly Row[]): string {
  const cells = [
    ['shape', 'work', 'ours', 'peer', 'unit', 'ratio'],
    ...rows.map((r) => [r.shape, r.work, r.ours.toFixed(1), r.peer.toFixed(1), r.unit, r.ratio.toFixed(2)]),
  ];
  const widths = cells[0]!.map((_, c) => Math.max(...cells.map((row) => row[c]!.length)));
  return cells
    .map((row) => row.map((cell, c) => (c < 2 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join('  '))
    .join('\n');
}

function rate({ tokens, ms }: Timing): number {
  return (tokens * 1000) / ms;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function shapeList(value: string): string[] {
  const names = value.split(',');
  for (const name of names) {
    if (!Object.hasOwn(shapes, name)) {
      throw new InvalidArgumentError(`There is no shape '${name}'; there are ${Object.keys(shapes).join(', ')}.`);
    }
  }
  return names;
}

function workList(value: string): string[] {
  const names = value.split(',');
  try {
    names.forEach(parseWork);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  return names;
}

function count(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError('A whole number from 1 is needed.');
  return number;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function log(text: string): void {
  process.stderr.write(`${text}\n`);
}
