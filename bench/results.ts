/**
 * @file Results that are kept: one file for each processor, from which `docs/performance.md` has its tables. As a
 * program it writes them: `tsx bench/results.ts`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import { readBandwidth } from './bandwidth.ts';

/** One line of the table; figures are medians in `unit`. */
export interface Row {
  readonly shape: string;
  readonly work: string;
  readonly ours: number;
  /** The name of the other side. */
  readonly peer: string;
  readonly theirs: number;
  /** Above 1, we are faster. */
  readonly ratio: number;
  /** `ms` for works that are waited for as a whole. */
  readonly unit: 'tok/s' | 'ms' | 'MB';
  /** Of this project. */
  readonly commit: string;
}

export interface Machine {
  readonly processor: string;
  /** Of the processor, that ggml's build for it uses; with spaces between. */
  readonly features: string;
  readonly threads: number;
  /** Plain sums of float64, GB/s. */
  readonly bandwidth: number;
  readonly node: string;
}

interface Results {
  readonly machine: Machine;
  readonly rows: readonly Row[];
}

const FOLDER = join(import.meta.dirname, 'results');
const PAGE = join(import.meta.dirname, '../docs/performance.md');
const [BEGIN, END] = ['<!-- bench/results: begin -->', '<!-- bench/results: end -->'];

export async function describeMachine(threads: number): Promise<Machine> {
  const { features } = openGgml();
  const bandwidth = Number(((await readBandwidth(threads)) / 1e9).toFixed(1));
  return {
    processor: processorName(features),
    features: features.join(' '),
    threads,
    bandwidth,
    node: process.versions.node,
  };
}

/** Clouds name several processors alike ("AMD EPYC"): the family and model numbers tell them apart. */
function processorName(features: readonly string[]): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  if (!existsSync('/proc/cpuinfo')) return model;
  const text = readFileSync('/proc/cpuinfo', 'utf8');
  const number = (key: string): string => new RegExp(`^${key}\\s*: (\\d+)`, 'm').exec(text)?.[1] ?? '?';
  const widest = ['AMX_INT8', 'AVX512_VNNI', 'AVX512', 'AVX2'].find((name) => features.includes(name)) ?? 'no AVX2';
  return `${model} (family ${number('cpu family')}, model ${number('model')}, ${widest})`;
}

/**
 * Keeps rows; they take the place of older ones for the same work and peer.
 * @returns the file.
 */
export function saveRows(machine: Machine, rows: readonly Row[]): string {
  mkdirSync(FOLDER, { recursive: true });
  const name = machine.processor.replaceAll(/[^A-Za-z0-9]+/g, '-').replaceAll(/^-|-$/g, '');
  const file = join(FOLDER, `${name.toLowerCase()}.json`);
  const keyOf = ({ shape, work, peer }: Row): string => `${shape} ${work} ${peer}`;
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results).rows : [];
  const all = new Map([...before, ...rows].map((row) => [keyOf(row), row]));
  const results: Results = { machine, rows: [...all.values()] };
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  return file;
}

/** How works in a browser begin: they have a table of their own. */
export const IN_BROWSER = 'browser, ';

function table(rows: readonly Row[]): string[] {
  const lines = rows.map((row) => {
    const cells = [row.shape, row.work, row.ours, row.peer, row.theirs, row.unit, row.ratio.toFixed(2), row.commit];
    return `| ${cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(1) : cell)).join(' | ')} |`;
  });
  return [
    '| shape | work | Keyhold | peer | peer’s figure | unit | ratio | commit |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...lines,
  ];
}

/** Two tables for each processor. */
function pageText(): string {
  return readdirSync(FOLDER)
    .sort()
    .map((file) => {
      const { machine, rows } = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Results;
      const inBrowser = rows.filter(({ work }) => work.startsWith(IN_BROWSER));
      return [
        `### ${machine.processor}`,
        '',
        `${machine.threads} threads on each side. The memory reads ${machine.bandwidth} GB/s. Node ${machine.node}.`,
        `ggml uses ${machine.features}.`,
        '',
        ...table(rows.filter((row) => !inBrowser.includes(row))),
        ...(inBrowser.length > 0
          ? [
              '',
              'In Chromium, by WebAssembly (`npm run bench:web`); `peak` is what the page’s process had resident at most:',
              '',
            ]
          : []),
        ...(inBrowser.length > 0 ? table(inBrowser) : []),
      ].join('\n');
    })
    .join('\n\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const page = readFileSync(PAGE, 'utf8');
  const [start, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (start < 0 || end < 0) throw new Error(`${PAGE} has no place for the tables: ${BEGIN} and ${END}`);
  writeFileSync(PAGE, `${page.slice(0, start + BEGIN.length)}\n\n${pageText()}\n\n${page.slice(end)}`);
}
