/**
 * @file The peer: llama.cpp through node-llama-cpp, in a process of its own.
 */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { writeGguf } from './gguf.ts';
import { watchMemory } from './memory.ts';
import {
  DECODE_TOKENS,
  DECODE_WARM_UP,
  type LoadOptions,
  OPEN_TOKENS,
  PROMPT_WARM_UP,
  promptTokens,
  SPARE_TOKENS,
  sameTokens,
  serve,
  type Timing,
  type Work,
} from './protocol.ts';
import { type ShapeConfig, shapes } from './shapes.ts';

/** The little of node-llama-cpp that is used. It is typed here so that the project checks without it being installed. */
interface NodeLlamaCpp {
  getLlama(options: { gpu: false; build: 'never'; logLevel: 'error'; maxThreads: number }): Promise<Llama>;
}
interface Llama {
  maxThreads: number;
  loadModel(options: { modelPath: string }): Promise<LlamaModel>;
}
interface LlamaModel {
  createContext(options: {
    contextSize: number;
    sequences: number;
    batchSize: number;
    threads: { ideal: number; min: number };
  }): Promise<LlamaContext>;
}
interface LlamaContext {
  readonly currentThreads: number;
  getSequence(): LlamaSequence;
  dispose(): Promise<void>;
}
interface LlamaSequence {
  readonly nextTokenIndex: number;
  clearHistory(): Promise<void>;
  eraseContextTokenRanges(ranges: { start: number; end: number }[]): Promise<void>;
  evaluate(tokens: number[], options: { temperature: number; yieldEogToken: boolean }): AsyncGenerator<number, void>;
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>;
}

/** The chunk length of llama.cpp's own tools. */
const BATCH_SIZE = 512;
/** A random model may choose the end of the text at any time: go on. */
const GREEDY = { temperature: 0, yieldEogToken: true };

let config: ShapeConfig;
let threads: number;
/** Bytes. */
let weights: number;
let llama: Llama;
let model: LlamaModel;
let context: LlamaContext | undefined;
let sequences: LlamaSequence[];
let work: Work | undefined;
let prompt: number[];

serve({
  async load(options) {
    await startLlama(options);
    const file = gguf(options);
    if (!existsSync(file)) writeGguf(file, config);
    weights = statSync(file).size;
    model = await llama.loadModel({ modelPath: file });
  },

  async prepare(next) {
    const { kind, tokens, rows } = next;
    const reuse = work && sameTokens(work, next);
    work = next;
    prompt = promptTokens(tokens, config.vocab_size);
    llama.maxThreads = threads;
    if (!reuse) {
      await context?.dispose();
      context = await createContext(tokens + SPARE_TOKENS, rows);
      sequences = Array.from({ length: rows }, () => context!.getSequence());
      if (kind !== 'prompt')
        for (const sequence of sequences) await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    }

    // More threads are not always faster here (they are started anew for each token): take the count that is.
    const attempt = kind === 'prompt' ? () => read(prompt.slice(0, PROMPT_WARM_UP)) : () => this.run();
    const trials = new Map<number, number>();
    for (const candidate of new Set([threads, Math.ceil(threads / 2)])) {
      llama.maxThreads = candidate;
      const times = [await attempt(), await attempt(), await attempt()].map(({ ms }) => ms);
      trials.set(candidate, Math.min(...times.slice(1)));
    }
    [llama.maxThreads] = [...trials].reduce((best, trial) => (trial[1] < best[1] ? trial : best));
  },

  async run() {
    const { kind, tokens: held, rows } = work!;
    if (kind === 'prefill') return read(prompt);
    if (kind === 'prompt') {
      const memory = watchMemory(weights);
      const timing = await read(prompt);
      return { ...timing, memory: memory() };
    }
    for (const sequence of sequences)
      await sequence.eraseContextTokenRanges([{ start: held, end: sequence.nextTokenIndex }]);
    // It puts into one batch what its sequences ask for at the same time, so all of them are asked at once, token by token.
    const writing = sequences.map((sequence, row) => sequence.evaluate([prompt[row]!], GREEDY));
    let start = 0;
    for (let made = 0; made < DECODE_WARM_UP + DECODE_TOKENS; made++) {
      if (made === DECODE_WARM_UP) start = performance.now();
      await Promise.all(writing.map((tokens) => tokens.next()));
    }
    const ms = performance.now() - start;
    await Promise.all(writing.map((tokens) => tokens.return()));
    return { tokens: DECODE_TOKENS * rows, ms, threads: context!.currentThreads };
  },

  async open(options) {
    await startLlama(options);
    const begin = performance.now();
    model = await llama.loadModel({ modelPath: gguf(options) });
    await createContext(OPEN_TOKENS, 1);
    return { tokens: 0, ms: performance.now() - begin };
  },
});

async function startLlama(options: LoadOptions): Promise<void> {
  config = shapes[options.shape]!;
  threads = options.threads;
  const packageName: string = 'node-llama-cpp';
  const { getLlama } = (await import(packageName)) as NodeLlamaCpp;
  llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads });
}

/** The shape as a file for llama.cpp. */
function gguf({ folder }: LoadOptions): string {
  return join(folder, 'model.gguf');
}

function createContext(contextSize: number, rows: number): Promise<LlamaContext> {
  const options = { contextSize, sequences: rows, batchSize: BATCH_SIZE, threads: { ideal: threads, min: 1 } };
  return model.createContext(options);
}

/** A prompt from the start, up to the first token chosen. */
async function read(tokens: number[]): Promise<Timing> {
  const [sequence] = sequences;
  await sequence!.clearHistory();
  const start = performance.now();
  for await (const _first of sequence!.evaluate(tokens, GREEDY)) break;
  return { tokens: tokens.length, ms: performance.now() - start, threads: context!.currentThreads };
}
