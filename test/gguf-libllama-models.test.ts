/**
 * llama.cpp computes of the tiny models in test/fixtures/gguf/models what we compute: names, orders of rows and
 * metadata mean the same to both. libllama comes with the package of the ggml engine; where it is not there, this is
 * skipped.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bindLlama, decodeTokens, openContext, openModel } from '../bench/libllama.ts';
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import { readGgufHeader } from '../src/checkpoint/gguf/header.ts';
import { loadModel } from '../src/node.ts';
import { largestError } from './parity/case.ts';
import { Bytes } from './support/gguf-bytes.ts';
import { hasLlama } from './support/libllama.ts';
import { bytesSource } from './support/safetensors-bytes.ts';
import { tempFolder } from './support/temp-folder.ts';

/**
 * The others can't be compared. Sizes are fixed in llama.cpp (gemma3n, minicpm3, baichuan, exaone4, llama4), or it
 * wants keys that these files lack (qwen35, lfm2moe), or all layers with experts (qwen2moe, qwen3next, qwen3vlmoe). It
 * leaves out windows (phi3, starcoder2), rotates Bamba's whole heads, chooses groups of experts otherwise (deepseek_v2)
 * and experts by a softmax (phimoe).
 */
const CASES = [
  ...['llama', 'llama-headdim', 'llama-rope-llama3', 'llama-rope-yarn', 'mistral-nowindow', 'mixtral', 'ministral3'],
  ...['exaone', 'internlm2', 'xverse', 'minicpm', 'qwen2', 'qwen2vl', 'qwen3', 'qwen3_moe', 'qwen3_vl_text', 'gemma'],
  ...[
    'phi',
    'gpt2',
    'gpt_bigcode',
    'gpt_neox',
    'gpt_neox-sequential',
    'bloom',
    'falcon',
    'falcon-new',
    'mpt',
    'stablelm',
  ],
  ...[
    'stablelm-2',
    'glm4',
    'glm4_moe',
    'granite',
    'granitemoe',
    'granitemoehybrid',
    'olmo',
    'olmo2',
    'olmo3',
    'cohere',
  ],
  ...['cohere2', 'nemotron', 'arcee', 'ernie4_5', 'ernie4_5_moe', 'smollm3', 'apertus', 'hunyuan_v1_dense', 'dbrx'],
  ...['deepseek', 'deepseek_v3', 'glm4_moe_lite', 'youtu', 'afmoe', 'minimax_m2', 'mamba', 'falcon_mamba', 'mamba2'],
  ...['jamba', 'lfm2'],
];
const IDS = [5, 9, 11, 40, 7, 60, 8, 33, 21, 4, 90, 2];
/** llama.cpp has keys and values in float16. */
const TOLERANCE = 0.01;

describe.runIf(hasLlama())('libllama', async () => {
  const folder = await tempFolder('libllama-models');
  const ggml = openGgml();
  const llama = bindLlama(ggml);

  /** A copy that says that it has no vocabulary, which llama.cpp wants to be told. */
  async function withoutVocabulary(name: string): Promise<string> {
    const bytes = new Uint8Array(await readFile(join(import.meta.dirname, 'fixtures/gguf/models', `${name}.gguf`)));
    const header = await readGgufHeader(bytesSource(bytes, name));
    const path = join(folder, `${name}.gguf`);
    if (header.metadata.has('tokenizer.ggml.model')) await writeFile(path, bytes);
    else {
      const end = header.bytes.length;
      const file = new Bytes().raw(bytes.subarray(0, 16)).u64(header.metadata.size + 1);
      file.text('tokenizer.ggml.model').u32(8).text('no_vocab');
      file.raw(bytes.subarray(24, end)).pad(32);
      await writeFile(path, file.raw(bytes.subarray(Math.ceil(end / 32) * 32)).done());
    }
    return path;
  }

  function theirs(file: string, size: number): Float32Array {
    const model = openModel(llama, file);
    const context = openContext(llama, model, { n_threads: 1 });
    try {
      decodeTokens({ ggml, llama, context }, IDS, (i) => ({ position: i, row: 0, wanted: true }));
      const all = new Float32Array(IDS.length * size);
      for (const i of IDS.keys())
        all.set(new Float32Array(ggml.koffi.view(llama.logits(context, i), 4 * size)), i * size);
      return all;
    } finally {
      llama.freeContext(context);
      llama.freeModel(model);
    }
  }

  it.each(CASES)('%s', async (name) => {
    const file = await withoutVocabulary(name);
    await using model = await loadModel(file, { weights: 'float32', cacheDir: folder });
    const cache = model.createCache({ policy: 'dense', cacheLength: 64 });
    const ours = (await model.step(cache, [IDS], { logits: 'all' })).logits;
    const largest = ours.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    expect(largestError(theirs(file, model.config.vocabSize), ours)).toBeLessThan(TOLERANCE * largest);
  });
});
