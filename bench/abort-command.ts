/**
 * @file `npm run bench:abort-command -- MODEL [ROUNDS]`: how long the command goes on after Ctrl-C in a prompt of 4,000
 * tokens, until its process has ended, and with which exit code. The model is loaded once before, so that its weights
 * are prepared. Each signal comes at another moment of a chunk.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../src/node.ts';

const TOKENS = 4000;
/** A line of progress says that the prompt is being read. */
const READING = /Reading the prompt/;

const [, , path, count = '8'] = process.argv;
if (!path) throw new Error('which model? A folder, or a GGUF file');
const folder = mkdtempSync(join(tmpdir(), 'keyhold-abort-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const model = await loadModel(path, { weights: 'q4_0' });
const numbers = (count: number): string => Array.from({ length: count }, (_, i) => 1000 + i).join(' ');
const perNumber = model.tokenizer.encode(numbers(100)).length / 100;
await model.dispose();
const prompt = join(folder, 'prompt.txt');
writeFileSync(prompt, numbers(Math.ceil(TOKENS / perNumber)));
const taken: number[] = [];
const codes = new Set<number | null>();
for (let i = 0; i < Number(count); i++) {
  const child = start();
  await reading(child);
  await new Promise((resolve) => setTimeout(resolve, (1700 * i) / Number(count)));
  const begin = performance.now();
  child.kill('SIGINT');
  const [code] = (await once(child, 'exit')) as [number | null];
  taken.push(performance.now() - begin);
  codes.add(code);
}
taken.sort((a, b) => a - b);
const [median, most] = [taken[Math.floor(taken.length / 2)]!, taken.at(-1)!];
process.stdout.write(
  `${taken.length} times Ctrl-C: median ${median.toFixed(0)} ms, at most ${most.toFixed(0)} ms until the process has ended; exit codes ${[...codes]}\n`,
);

function start(): ChildProcess {
  const main = join(import.meta.dirname, '../src/cli/main.js');
  const args = ['generate', '--model', path!, '-f', prompt, '-n', '4', '--cache-policy', 'dense', '--weights', 'q4_0'];
  return spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Waits until the first chunk has been read. */
async function reading({ stderr }: ChildProcess): Promise<void> {
  let text = '';
  for await (const piece of stderr!) {
    text += piece;
    if (READING.test(text)) return;
  }
  throw new Error(`the command ended before it was interrupted: ${text.slice(-300)}`);
}
