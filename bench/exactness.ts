/**
 * @file `npm run bench:exactness`: how far formats of weights are from the values of a checkpoint, on a text. Of each format: the mean
 * Kullback-Leibler divergence from the logits in float32, the share of tokens whose most likely successor is the same, and the perplexity.
 * Of a GGUF file libllama is measured, too.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { openGgml } from '../src/backends/ggml/binding.ts';
import { onnxBackend } from '../src/backends/onnx/onnxruntime-node.ts';
import { onnxWebTarget } from '../src/backends/onnx/target.ts';
import { logSoftmaxAt } from '../src/engine/sampling/sampler.ts';
import { divergenceOf } from '../src/eval/divergence.ts';
import { assembleModel } from '../src/load/load.ts';
import { openCheckpoint } from '../src/load/load-model-node.ts';
import { type LanguageModel, type LoadOptions, loadModel, type WeightChoice } from '../src/node.ts';
import { argmax } from '../src/util/numbers.ts';
import { byteGroups } from '../src/weights/byte-groups.ts';
import { openPreparedWeights } from '../src/weights/store-node.ts';
import { bindLlama, decodeTokens, openContext, openModel } from './libllama.ts';

const options = new Command('bench:exactness')
  .argument('<model>', 'a GGUF file, a folder or a hub id')
  .option('--text <file>', 'what is read', 'README.md')
  .option('--tokens <n>', 'how many tokens of it', '2048')
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
  const backend = { ...onnxBackend, target: onnxWebTarget, codec: byteGroups };
  const checkpoint = await openCheckpoint(file);
  try {
    return await assembleModel({
      ...{ checkpoint, backend, weights, threads: Number(threads) },
      prepare: (request) =>
        openPreparedWeights({ ...request, label: checkpoint.name, codec: byteGroups, cacheDir: folder }),
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

/** libllama with its defaults: keys and values in float16. */
function openLlama(length: number): Reader {
  const ggml = openGgml();
  const llama = bindLlama(ggml);
  const model = openModel(llama, file);
  const context = openContext(llama, model, { n_ctx: length, n_threads: Number(threads) });
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

class Sums {
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
const ids = exact.model.tokenizer!.encode(readFileSync(text, 'utf8'), { addSpecialTokens: false });
const count = Math.min(Number(tokens), ids.length);
const windows: number[][] = [];
for (let at = 0; at < count; at += Number(window)) windows.push(ids.slice(at, Math.min(at + Number(window), count)));
const size = exact.model.config.vocabSize;

const readers = new Map<string, Reader>();
const models: LanguageModel[] = [exact.model];
for (const format of formats.split(',').filter((name) => name !== '')) {
  const { model, read } = await openOurs(format as WeightChoice);
  models.push(model);
  readers.set(format, read);
}
if (file.endsWith('.gguf') && engine !== 'web') readers.set('libllama', openLlama(Number(window)));

const sums = new Map([...readers.keys()].map((name) => [name, new Sums()]));
const own = new Sums();
for (const some of windows) {
  const rows = await exact.read(some);
  const rowOf = (all: Float32Array, i: number): Float32Array => all.subarray(i * size, (i + 1) * size);
  for (const i of some.keys()) own.add(rowOf(rows, i), rowOf(rows, i), some[i + 1]);
  for (const [name, read] of readers) {
    const others = await read(some);
    for (const i of some.keys()) sums.get(name)!.add(rowOf(rows, i), rowOf(others, i), some[i + 1]);
  }
}
for (const model of models) await model.dispose();

console.log(`${file}, ${count} tokens of ${text} in windows of ${window}${oneByOne ? ', token by token' : ''}`);
console.log('| weights | mean divergence | same first token | perplexity |');
console.log('| --- | --- | --- | --- |');
for (const [name, { divergence, same, surprise, tokens: read }] of [['float32', own] as const, ...sums])
  console.log(
    `| ${name} | ${(divergence / read).toExponential(2)} | ${((100 * same) / read).toFixed(1)} % | ${Math.exp(
      surprise / (read - windows.length),
    ).toFixed(3)} |`,
  );
process.exit(0);
