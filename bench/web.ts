/**
 * @file `npm run bench:web`: this library, transformers.js and wllama in Chromium, in turns, with random weights in a
 * real shape.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { narrow } from '../src/util/half.ts';
import { bundle, RUNTIME_FILES, type Site, serveSite } from '../test/support/browser.ts';
import { safetensorsFile, type TestTensor } from '../test/support/safetensors-bytes.ts';
import { type MatrixFormat, writeGguf } from './gguf.ts';
import { installPackages } from './install.ts';
import { type ExportDtype, writeOnnx } from './onnx-export.ts';
import { promptTokens } from './protocol.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import { describeMachine, IN_BROWSER, type Row, saveRows } from './results.ts';
import { type ShapeConfig, shapes } from './shapes.ts';
import { type Figures, keyholdSide, OpenSide, type Side, transformersSide, wllamaSide } from './web/sides.ts';

const HERE = import.meta.dirname;
const PEERS = join(HERE, 'web/node_modules');
const SEED = 1;
/** Before anything is timed, so many tokens are read and written. */
const WARM_UP = { prompt: 8, newTokens: 4 };

const GGUF_FORMATS: readonly MatrixFormat[] = ['q4_0', 'q8_0'];

const SIDES: Readonly<Record<string, Side>> = {
  float32: keyholdSide('float32'),
  int8: keyholdSide('int8'),
  ...Object.fromEntries(
    GGUF_FORMATS.map((format) => [`wllama-${format}`, wllamaSide(`wllama ${format}`, `/gguf/${format}.gguf`)]),
  ),
  'transformers-fp32': transformersSide('fp32'),
  'transformers-q8': transformersSide('q8'),
  'transformers-q4': transformersSide('q4'),
};

interface Options {
  readonly shape: string;
  readonly sides: string;
  readonly threads: string;
  readonly rounds: string;
  readonly prompt: string;
  readonly new: string;
  readonly keep?: string;
  readonly save: boolean;
}

const options = new Command('bench:web')
  .option('--shape <name>', `of ${Object.keys(shapes).join(', ')}`, 'smollm-135m')
  .option(
    '--sides <names>',
    `of ${Object.keys(SIDES).join(', ')}`,
    'float32,int8,wllama-q4_0,wllama-q8_0,transformers-fp32,transformers-q8',
  )
  .option('--threads <n>', 'for each side', '1')
  .option('--rounds <n>', 'runs on each side; the best one counts', '3')
  .option('--prompt <tokens>', 'of the prompt', '128')
  .option('--new <tokens>', 'after it', '24')
  .option('--keep <folder>', 'keep the files of the sides there, for further runs')
  .option('--save', "keep the rows in bench/results, in this processor's file", false)
  .parse()
  .opts<Options>();

const folder = options.keep ?? mkdtempSync(join(tmpdir(), 'keyhold-bench-web-'));
let site: Site | undefined;
const open: OpenSide[] = [];
try {
  await main();
} finally {
  await Promise.all(open.map((side) => side.close()));
  await site?.close();
  if (!options.keep) rmSync(folder, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const config = shapes[options.shape];
  const names = options.sides.split(',');
  const unknown = names.find((name) => !Object.hasOwn(SIDES, name)) ?? (config ? undefined : options.shape);
  if (unknown !== undefined) throw new Error(`there is no ${unknown}; see --help`);
  const threads = Number(options.threads);
  installPackages(join(HERE, 'web'), ['@wllama/wllama', '@huggingface/transformers']);
  await writeFiles(config!, names);
  site = await serve();
  for (const name of names) open.push(await OpenSide.open(SIDES[name]!, site.url, threads));

  const [length, newTokens, rounds] = [options.prompt, options.new, options.rounds].map(Number);
  const prompt = promptTokens(length!, config!.vocab_size);
  const best = new Map<OpenSide, Figures>();
  for (let round = 0; round <= rounds!; round++)
    for (const side of open) {
      if (round === 0) {
        await side.run({ prompt: prompt.slice(0, WARM_UP.prompt + 8), newTokens: WARM_UP.newTokens, round });
        continue;
      }
      const figures = await side.run({ prompt, newTokens: newTokens!, round });
      const before = best.get(side);
      best.set(side, {
        prompt: Math.max(figures.prompt, before?.prompt ?? 0),
        decode: Math.max(figures.decode, before?.decode ?? 0),
      });
      log(
        `  round ${round}: ${side.name}: prompt ${figures.prompt.toFixed(1)}, decode ${figures.decode.toFixed(1)} tok/s`,
      );
    }
  const rows = open.map((side) => ({ name: side.name, ...best.get(side)!, peak: side.peakBytes() / 1e6 }));
  const machine = await describeMachine(availableParallelism());
  print(
    `${machine.processor}, ${threads} threads, commit ${commit()}; prompt of ${length} tokens, ${newTokens} after it\n`,
  );
  print(table(rows));
  if (options.save) log(`kept in ${saveRows(machine, savedRows(rows, threads))}`);
}

interface Measured extends Figures {
  readonly name: string;
  /** MB */
  readonly peak: number;
}

/** A row for each of our formats beside each peer. */
function savedRows(measured: readonly Measured[], threads: number): Row[] {
  const isOurs = ({ name }: Measured) => name.startsWith('Keyhold');
  return measured.filter(isOurs).flatMap((ours) =>
    measured
      .filter((side) => !isOurs(side))
      .flatMap((theirs) =>
        (['prompt', 'decode', 'peak'] as const).map((figure): Row => {
          const [a, b] = [ours[figure], theirs[figure]];
          return {
            shape: `${options.shape} ${ours.name.replace('Keyhold ', '')}`,
            work: `${IN_BROWSER}${threads} thread${threads > 1 ? 's' : ''}: ${figure}`,
            ours: Number(a.toFixed(1)),
            peer: theirs.name,
            theirs: Number(b.toFixed(1)),
            ratio: Number((figure === 'peak' ? b / a : a / b).toFixed(3)),
            unit: figure === 'peak' ? 'MB' : 'tok/s',
            commit: commit(),
          };
        }),
      ),
  );
}

/** What each side loads. */
async function writeFiles(config: ShapeConfig, names: readonly string[]): Promise<void> {
  const checkpoint = join(folder, 'checkpoint');
  if (!existsSync(join(checkpoint, 'model.safetensors'))) {
    mkdirSync(checkpoint, { recursive: true });
    const tensors: Record<string, TestTensor> = {};
    for (const [name, { shape, readFloats }] of randomCheckpoint(config, SEED).tensors) {
      const values = await readFloats(
        0,
        shape.reduce((a, b) => a * b, 1),
      );
      tensors[name] = { dtype: 'BF16', shape, bytes: narrow(values, 'BF16') };
    }
    writeFileSync(join(checkpoint, 'config.json'), JSON.stringify(config));
    writeFileSync(join(checkpoint, 'model.safetensors'), safetensorsFile(tensors));
  }
  mkdirSync(join(folder, 'gguf'), { recursive: true });
  for (const format of GGUF_FORMATS) {
    const file = join(folder, `gguf/${format}.gguf`);
    if (names.includes(`wllama-${format}`) && !existsSync(file)) writeGguf(file, config, format);
  }
  const files = { fp32: 'model.onnx', q8: 'model_quantized.onnx', q4: 'model_q4.onnx' };
  for (const [dtype, file] of Object.entries(files))
    if (names.includes(`transformers-${dtype}`) && !existsSync(join(folder, 'onnx/export/onnx', file)))
      await writeOnnx(join(folder, 'onnx/export'), config, SEED, dtype as ExportDtype);
}

async function serve(): Promise<Site> {
  const { files } = await bundle({
    page: 'test/web/page.ts',
    thread: 'src/web/thread.ts',
    'transformers-worker': 'bench/web/transformers-worker.js',
  });
  const html = '<!doctype html><title>benchmark</title><link rel="icon" href="data:,">';
  return serveSite({
    folders: {
      '/ort/': RUNTIME_FILES,
      '/checkpoint/': join(folder, 'checkpoint'),
      '/gguf/': join(folder, 'gguf'),
      '/onnx/': join(folder, 'onnx'),
      '/wllama/': join(PEERS, '@wllama/wllama/esm'),
      '/transformers-ort/': join(PEERS, 'onnxruntime-web/dist'),
    },
    files: new Map<string, Uint8Array | string>([
      ...files,
      ['empty', html],
      ['keyhold', `${html}<script type="module" src="/page.js"></script>`],
    ]),
    isolated: true,
  });
}

function commit(): string {
  return execFileSync('git', ['-C', resolve(HERE), 'describe', '--always', '--dirty'], { encoding: 'utf8' }).trim();
}

function table(rows: readonly Measured[]): string {
  const cells = [
    ['side', 'prompt, tok/s', 'decode, tok/s', 'peak, MB'],
    ...rows.map(({ name, prompt, decode, peak }) => [name, prompt.toFixed(1), decode.toFixed(1), peak.toFixed(0)]),
  ];
  const widths = cells[0]!.map((_, c) => Math.max(...cells.map((row) => row[c]!.length)));
  return cells.map((row) => row.map((cell, c) => cell.padEnd(widths[c]!)).join('  ')).join('\n');
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function log(text: string): void {
  process.stderr.write(`${text}\n`);
}
