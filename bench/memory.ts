/**
 * @file `npm run bench:memory`: what `planMemory` says beside the peak that the system measured, for three shapes with random weights
 * under four policies, each run in a process of its own. Linux only: the peak is VmHWM of /proc.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { planMemory, readConfig, type WeightFormat } from '../src/node.ts';
import { type MemoryJob, SMALL, shapeOf } from './memory-job.ts';

const ROOT = join(import.meta.dirname, '..');
const TOKENS = 2000;
const DECODE = 16;
const BUDGET = 512;
const SHAPES: readonly (readonly [shape: string, weights: WeightFormat])[] = [
  [SMALL, 'f32'],
  ['smollm-135m', 'int8'],
  ['llama-3.2-1b', 'int4'],
];
const POLICIES = ['dense', 'lastrec', 'h2o', 'keydiff'];

const [only] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'keyhold-memory-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

// As users run it: compiled, without a loader that takes memory of its own.
const built = join(ROOT, 'dist/bench-memory');
execFileSync(
  process.execPath,
  [join(ROOT, 'node_modules/typescript/bin/tsc'), '--noEmit', 'false', '--outDir', built, '--rootDir', ROOT],
  { cwd: ROOT, stdio: ['ignore', 2, 2] },
);

print('shape           weights  policy     runtime  weights    cache  workspace  estimate      peak  ratio');
let worst = 0;
for (const [shape, weights] of SHAPES) {
  if (only !== undefined && only !== shape) continue;
  const common = { shape, weights, tokens: TOKENS, decode: DECODE, chunkLength: 256, folder };
  run({ ...common, cache: { policy: 'dense', cacheLength: 1 }, prepareOnly: true });
  for (const policy of POLICIES) {
    const cache = { policy, cacheLength: policy === 'dense' ? TOKENS + DECODE : BUDGET };
    const { peak } = JSON.parse(run({ ...common, cache })) as { peak: number };
    const { config } = readConfig({ ...shapeOf(shape) });
    const plan = planMemory(config, { contextLength: TOKENS + DECODE, cache, weights, tokenizer: false });
    const { private: copies, mapped } = plan.resident[weights];
    const estimate = plan.total[weights];
    worst = Math.max(worst, Math.abs(estimate / peak - 1));
    const parts = [plan.runtime, copies + mapped, plan.cache + plan.bookkeeping, plan.workspace, estimate, peak];
    const cells = parts.map((bytes, i) => mb(bytes).padStart([7, 7, 7, 9, 8, 8][i]));
    print(
      `${shape.padEnd(14)}  ${weights.padEnd(7)}  ${policy.padEnd(9)}  ${cells.join('  ')}  ${(estimate / peak).toFixed(3)}`,
    );
  }
}
print(`furthest from the peak: ${(100 * worst).toFixed(1)} %`);

function run(job: MemoryJob): string {
  const child = join(built, 'bench/memory-child.js');
  return execFileSync(process.execPath, [child, JSON.stringify(job)], { cwd: ROOT, encoding: 'utf8' });
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
