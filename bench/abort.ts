/**
 * @file `npm run bench:abort`: how long a model goes on after an abort, in a prompt of 4,000 tokens and while it
 * writes. Random weights of a real shape; each abort comes at another moment of a chunk.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadModel } from '../src/node.ts';
import { promptTokens } from './protocol.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import { shapes } from './shapes.ts';

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'llama-3.2-1b' },
    weights: { type: 'string', default: 'q4_0' },
    tokens: { type: 'string', default: '4000' },
    rounds: { type: 'string', default: '8' },
    /** Where prepared weights are, or are made. */
    folder: { type: 'string' },
  },
});
const shape = shapes[values.shape]!;
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'keyhold-abort-'));
if (!values.folder) process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const weights = values.weights as 'q4_0';
const model = await loadModel(randomCheckpoint(shape, 1), { weights, cacheDir: folder });
// The weights are opened at the first step.
await model.generate(promptTokens(8, shape.vocab_size), { maxNewTokens: 1, eosTokenIds: [] }).result();
const prompt = promptTokens(Number(values.tokens), shape.vocab_size);
const rounds = Number(values.rounds);
const taken: number[] = [];
for (let i = 0; i < rounds; i++) {
  const aborter = new AbortController();
  const generation = model.generate(prompt, { maxNewTokens: 64, signal: aborter.signal, eosTokenIds: [] });
  const result = generation.result();
  // From the first chunk on, at moments that are spread over it.
  await new Promise((resolve) => setTimeout(resolve, 300 + (1700 * i) / rounds));
  const start = performance.now();
  aborter.abort();
  const outcome = await result.then(
    ({ finishReason }) => finishReason,
    () => 'aborted',
  );
  if (outcome !== 'aborted') throw new Error(`the generation ended with ${outcome} before the abort`);
  taken.push(performance.now() - start);
}
taken.sort((a, b) => a - b);
const [median, most] = [taken[Math.floor(taken.length / 2)]!, taken.at(-1)!];
process.stdout.write(
  `${values.shape} in ${weights}, prompt of ${prompt.length}: ${rounds} aborts, median ${median.toFixed(1)} ms, at most ${most.toFixed(1)} ms\n`,
);
await model.dispose();
