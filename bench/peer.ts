/**
 * @file The peer: llama.cpp through node-llama-cpp, in a process of its own.
 */

import { DECODE_TOKENS, DECODE_WARM_UP, promptTokens, SPARE_TOKENS, serve, type Work } from './protocol.ts';
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
let llama: Llama;
let model: LlamaModel;
let context: LlamaContext;
let sequence: LlamaSequence;
let work: Work;
let prompt: number[];

serve({
  async load(options) {
    config = shapes[options.shape]!;
    threads = options.threads;
    const packageName: string = 'node-llama-cpp';
    const { getLlama } = (await import(packageName)) as NodeLlamaCpp;
    llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads });
    model = await llama.loadModel({ modelPath: options.gguf });
  },

  async prepare(next) {
    work = next;
    prompt = promptTokens(work.tokens, config.vocab_size);
    context = await model.createContext({
      contextSize: work.tokens + SPARE_TOKENS,
      batchSize: BATCH_SIZE,
      threads: { ideal: threads, min: 1 },
    });
    sequence = context.getSequence();
    llama.maxThreads = threads;
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);

    // More threads are not always faster here (they are started anew for each token): take the count that is.
    const trials = new Map<number, number>();
    for (const candidate of new Set([threads, Math.ceil(threads / 2)])) {
      llama.maxThreads = candidate;
      const times = [await this.run(), await this.run(), await this.run()].map(({ ms }) => ms);
      trials.set(candidate, Math.min(...times.slice(1)));
    }
    [llama.maxThreads] = [...trials].reduce((best, trial) => (trial[1] < best[1] ? trial : best));
  },

  async run() {
    if (work.kind === 'prefill') {
      await sequence.clearHistory();
      const start = performance.now();
      for await (const _first of sequence.evaluate(prompt, GREEDY)) break;
      return { tokens: work.tokens, ms: performance.now() - start, threads: context.currentThreads };
    }
    await sequence.eraseContextTokenRanges([{ start: work.tokens, end: sequence.nextTokenIndex }]);
    let made = 0;
    let start = 0;
    for await (const _token of sequence.evaluate([prompt[0]!], GREEDY)) {
      made++;
      if (made === DECODE_WARM_UP) start = performance.now();
      if (made === DECODE_WARM_UP + DECODE_TOKENS) break;
    }
    return { tokens: DECODE_TOKENS, ms: performance.now() - start, threads: context.currentThreads };
  },

  async release() {
    await context.dispose();
  },
});
