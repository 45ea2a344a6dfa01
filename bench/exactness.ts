/**
 * @file `npm run bench:exactness`: how far formats of weights are from the values of a checkpoint, on a text. Of each
 * format: the mean Kullback-Leibler divergence from the logits in float32, the share of tokens whose most likely
 * successor is the same, and the perplexity. Of a GGUF file libllama is measured, too, and with keys and values in
 * float32: what that changes says how much two engines with the same products may differ by chance. Differences to
 * libllama have an interval of 95 %, by windows.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import type { Pointer } from '../src/backends/ggml/binding/functions.ts';
import type { Ggml } from '../src/backends/ggml/binding/ggml.ts';
import { onnxBackend } from '../src/backends/onnx/onnxruntime-node.ts';
import { onnxWebTarget } from '../src/backends/onnx/target.ts';
import { logSoftmaxAt } from '../src/engine/sampling/sampler.ts';
import { divergenceOf } from '../src/eval/divergence.ts';
import { assembleModel } from '../src/load/load.ts';
import { openCheckpoint } from '../src/load/load-model-node.ts';
import { type LanguageModel, type LoadOptions, loadModel, type WeightChoice } from '../src/node.ts';
import { argmax } from '../src/util/numbers.ts';
import { byteRows } from '../src/weights/formats/byte-rows.ts';
import { openPreparedWeights } from '../src/weights/prepared/store-node.ts';
import { bindLlama, decodeTokens, FLOAT_CACHE, type Llama, openContext, openModel } from './libllama.ts';

const options = new Command('bench:exactness')
  .argument('<model>', 'a GGUF file, a folder or a hub id')
  .option('--text <files>', 'what is read, separated by commas', 'README.md')
  .option('--tokens <n>', 'how many tokens of each', '2048')
  .option('--window <n>', 'tokens that are read together; each window begins with an empty cache', '512')
  .option('--formats <list>', 'formats of weights', 'auto,int8,int4')
  .option('--engine <name>', 'ggml, onnx, or web: the graphs and weights of pages, computed by onnx here', 'ggml')
  .option('--threads <n>', 'of all engines', String(availableParallelism()))
  .option('--one-by-one', 'every token is a step, as when text is written; otherwise a window is one step', false)
  .parse();
const [file] = options.args as [string];
const { text, tokens, window, formats, engine, threads, oneByOne } = options.opts<{
  text: string;
  tokens: string;
  window: string;
  formats: string;
  engine: NonNullable<LoadOptions['engine']> | 'web';
  threads: string;
  oneByOne: boolean;
}>();

const folder = mkdtempSync(join(tmpdir(), 'keyhold-exactness-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Logits of all tokens of a window, one row for each. */
type Reader = (ids: readonly number[]) => Promise<Float32Array>;

/** The model as a page has it, but for the processor's instructions. */
async function openAsInBrowser(weights: WeightChoice): Promise<LanguageModel> {
  const backend = { ...onnxBackend, target: onnxWebTarget, codec: byteRows };
  const checkpoint = await openCheckpoint(file);
  try {
    return await assembleModel({
      ...{ checkpoint, backend, weights, threads: Number(threads) },
      prepare: (request) =>
        openPreparedWeights({ ...request, label: checkpoint.name, codec: byteRows, cacheDir: folder }),
    });
  } finally {
    await checkpoint.close();
  }
}

async function openOurs(weights: WeightChoice): Promise<{ model: LanguageModel; read: Reader }> {
  const model =
    engine === 'web'
      ? await openAsInBrowser(weights)
      : await loadModel(file, { weights, engine, threads: Number(threads), cacheDir: folder });
  const read: Reader = async (ids) => {
    const cache = model.createCache({ policy: 'dense', cacheLength: ids.length });
    if (!oneByOne) return Float32Array.from((await model.step(cache, [[...ids]], { logits: 'all' })).logits);
    const rows = new Float32Array(ids.length * model.config.vocabSize);
    for (const [i, id] of ids.entries()) rows.set(await model.prefill(cache, [id]), i * model.config.vocabSize);
    return rows;
  };
  return { model, read };
}

/** libllama, by default with keys and values in float16. */
function openLlama(length: number, { ggml, llama, model }: OpenLlama, settings: object = {}): Reader {
  const context = openContext(llama, model, { n_ctx: length, n_threads: Number(threads), ...settings });
  const size = llama.vocabularySize(llama.vocabulary(model));
  return async (ids) => {
    llama.seqRemove(llama.memory(context), 0, 0, -1);
    const rows = new Float32Array(ids.length * size);
    const copy = (index: number, at: number): void =>
      rows.set(new Float32Array(ggml.koffi.view(llama.logits(context, index), 4 * size)), at * size);
    const decode = (some: readonly number[], start: number): void =>
      decodeTokens({ ggml, llama, context }, some, (i) => ({ position: start + i, row: 0, wanted: true }));
    if (oneByOne)
      for (const [i, id] of ids.entries()) {
        decode([id], i);
        copy(0, i);
      }
    else {
      decode(ids, 0);
      for (let i = 0; i < ids.length; i++) copy(i, i);
    }
    return rows;
  };
}

interface OpenLlama {
  readonly ggml: Ggml;
  readonly llama: Llama;
  readonly model: Pointer;
}

/** Mean of the differences of two lists, and half of its interval of 95 %. */
function difference(own: readonly number[], other: readonly number[]): readonly [mean: number, half: number] {
  const all = own.map((value, i) => value - other[i]!);
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
  const variance = all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, all.length - 1);
  return [mean, 1.96 * Math.sqrt(variance / all.length)];
}

class Sums {
  /** Mean divergences of windows. */
  readonly windows: number[] = [];
  divergence = 0;
  same = 0;
  surprise = 0;
  tokens = 0;

  /** @param next the token that follows in the text; undefined at the end of a window. */
  add(exact: Float32Array, other: Float32Array, next: number | undefined): void {
    this.divergence += divergenceOf(exact, other);
    if (argmax(exact) === argmax(other)) this.same++;
    this.tokens++;
    if (next !== undefined) this.surprise -= logSoftmaxAt(other, next);
  }
}

const exact = await openOurs('float32');
const windows: number[][] = [];
let count = 0;
for (const name of text.split(',')) {
  const ids = exact.model.tokenizer!.encode(readFileSync(name, 'utf8'), { addSpecialTokens: false });
  const end = Math.min(Number(tokens), ids.length);
  for (let at = 0; at < end; at += Number(window)) windows.push(ids.slice(at, Math.min(at + Number(window), end)));
  count += end;
}
const size = exact.model.config.vocabSize;

const readers = new Map<string, Reader>();
const models: LanguageModel[] = [exact.model];
for (const format of formats.split(',').filter((name) => name !== '')) {
  const { model, read } = await openOurs(format as WeightChoice);
  models.push(model);
  readers.set(format, read);
}
if (file.endsWith('.gguf') && engine !== 'web') {
  const ggml = openGgml();
  const llama = bindLlama(ggml);
  const opened = { ggml, llama, model: openModel(llama, file) };
  readers.set('libllama', openLlama(Number(window), opened));
  readers.set('libllama, float32 cache', openLlama(Number(window), opened, FLOAT_CACHE));
}

const sums = new Map([...readers.keys()].map((name) => [name, new Sums()]));
const own = new Sums();
for (const some of windows) {
  const rows = await exact.read(some);
  const rowOf = (all: Float32Array, i: number): Float32Array => all.subarray(i * size, (i + 1) * size);
  for (const i of some.keys()) own.add(rowOf(rows, i), rowOf(rows, i), some[i + 1]);
  for (const [name, read] of readers) {
    const others = await read(some);
    const all = sums.get(name)!;
    const before = all.divergence;
    for (const i of some.keys()) all.add(rowOf(rows, i), rowOf(others, i), some[i + 1]);
    all.windows.push((all.divergence - before) / some.length);
  }
}
for (const model of models) await model.dispose();

console.log(`${file}, ${count} tokens of ${text} in windows of ${window}${oneByOne ? ', token by token' : ''}`);
console.log('| weights | mean divergence | less libllama | same first token | perplexity |');
console.log('| --- | --- | --- | --- | --- |');
const llamaWindows = sums.get('libllama')?.windows;
for (const [name, { divergence, same, surprise, tokens: read, windows: each }] of [
  ['float32', own] as const,
  ...sums,
]) {
  const [mean, half] = llamaWindows && each.length > 0 ? difference(each, llamaWindows) : [null, null];
  const less = mean === null ? '' : `${mean.toExponential(1)} ± ${half.toExponential(1)}`;
  console.log(
    `| ${name} | ${(divergence / read).toExponential(3)} | ${less} | ${((100 * same) / read).toFixed(1)} % | ${Math.exp(
      surprise / (read - windows.length),
    ).toFixed(3)} |`,
  );
}
process.exit(0);
