/**
 * @file `npm run bench:memory-kinds [FOLDER…]`: the plan of memory beside the peak that the system measured, for one
 * model of each kind of mixer, an encoder, and a GGUF file where one is named. Each runs in a process of its own. Linux
 * only.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { openCheckpoint, planMemory, planModel } from '../src/exports/checkpoint-node.ts';
import { compiled, useBuilt } from './compiled.ts';
import type { KindJob } from './memory-kind-child.ts';

const ROOT = join(import.meta.dirname, '..');
const FIXTURES = 'test/fixtures/more-families';
const KINDS = ['gemma4-e2b', 'gemma3n', 'qwen3_next', 'mamba2', 'deepseek_v3', 'glm4_moe', 'bert'];
const MOST_TOKENS = 2000;
const DECODE = 16;

const named = process.argv.slice(2).filter((arg) => arg !== '--built');
if (process.argv.includes('--built')) useBuilt();
const child = compiled('memory-kind-child');
const folders = named.length > 0 ? named : KINDS.map((kind) => `${FIXTURES}/${kind}`);
print('model                      tokens  runtime  weights    cache  workspace  estimate      peak  ratio');
let worst = 0;
for (const model of folders) {
  const checkpoint = await openCheckpoint(model);
  const { config, format } = planModel(checkpoint);
  const isEncoder = config.output !== 'logits';
  const tokens = Math.min(MOST_TOKENS, config.contextLength - DECODE);
  const job: KindJob = { model, tokens, decode: DECODE, isEncoder, vocabulary: config.vocabSize };
  // The first process prepares the weights, which takes memory, too.
  const { folder } = JSON.parse(run({ ...job, decode: 0, tokens: 1 })) as { folder: string };
  const { peak } = JSON.parse(run({ ...job, folder })) as { peak: number };
  const length = isEncoder ? tokens : tokens + DECODE;
  const tokenizer = (await checkpoint.readJson('tokenizer.json')) !== undefined;
  const cache = isEncoder ? {} : { policy: 'dense', cacheLength: length };
  const plan = planMemory(config, { contextLength: length, cache, checkpoint, tokenizer });
  await checkpoint.close();
  const { private: copies, mapped } = plan.resident[format];
  const estimate = plan.total[format];
  worst = Math.max(worst, Math.abs(estimate / peak - 1));
  const parts = [plan.runtime, copies + mapped, plan.cache + plan.bookkeeping, plan.workspace, estimate, peak];
  const cells = parts.map((bytes, i) => (bytes / 1e6).toFixed(1).padStart([7, 7, 7, 9, 8, 8][i]));
  const name = model.split('/').at(-1)!.slice(0, 25).padEnd(25);
  print(`${name}  ${String(length).padStart(6)}  ${cells.join('  ')}  ${(estimate / peak).toFixed(3)}`);
}
print(`furthest from the peak: ${(100 * worst).toFixed(1)} %`);

function run(job: KindJob): string {
  return execFileSync(process.execPath, [child, JSON.stringify(job)], { cwd: ROOT, encoding: 'utf8' });
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
