import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { randomCheckpoint } from '../../../bench/random-checkpoint.ts';
import { shapes } from '../../../bench/shapes.ts';
import { largestError, relativeError } from '../../../test/parity/case.ts';
import {
  LITGPT_FILES,
  llamaLora,
  matrix,
  noise,
  type TestAdapter,
  vector,
  writeTestAdapter,
} from '../../../test/support/adapters.ts';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { f32, type TestTensor } from '../../../test/support/safetensors-bytes.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { AdapterChoice } from '../../adapters/choice.ts';
import { openAdapterFolder } from '../../adapters/read/open-node.ts';
import type { LanguageModel } from '../../engine/language-model.ts';
import { type AdapterSource, type LoadOptions, loadModel } from '../../node.ts';
import { AdapterError, InputError } from '../../util/errors.ts';
import { openCheckpoint } from '../load-model-node.ts';

const folder = await tempFolder('adapters');
const cacheDir = join(folder, 'cache');
const LLAMA = caseFolder('llama');
const PROMPTS = [
  [5, 6, 7, 8, 9, 10, 11],
  [50, 40, 30, 20, 10],
  [9, 8, 7],
  [60, 61, 62, 63, 64, 65],
];

let count = 0;
const inFolder = (adapter: TestAdapter, files?: readonly [string, string]) =>
  writeTestAdapter(join(folder, `adapter-${count++}`), adapter, files);

const load = (adapters: readonly AdapterSource[], more: LoadOptions = {}) =>
  loadModel(LLAMA, { weights: 'float32', cacheDir, adapters, ...more });

async function logitsOf(model: LanguageModel, prompt = PROMPTS[0], adapters?: AdapterChoice): Promise<Float32Array> {
  const cache = model.createCache({ policy: 'dense', cacheLength: 64 });
  const all = await model.prefill(cache, prompt, { logits: 'all', adapters });
  // One token more, out of the cache.
  const last = await model.prefill(cache, [3], { adapters });
  return Float32Array.from([...all, ...last]);
}

async function logitsWith(adapters: readonly AdapterSource[], more?: LoadOptions): Promise<Float32Array> {
  await using model = await load(adapters, more);
  return await logitsOf(model);
}

function prefixAdapter(gates: readonly number[], seed = 1): TestAdapter {
  return {
    settings: { kind: 'adapter', adapter_prompt_length: 3 + seed, adapter_start_layer: seed % 2 },
    tensors: Object.fromEntries(
      [0, 1].slice(seed % 2).flatMap((l) => [
        [`transformer.h.${l}.attn.adapter_wte.weight`, matrix(3 + seed, 32, seed + l)],
        [`transformer.h.${l}.attn.gating_factor`, f32([1, 1, 4, 1], gates)],
      ]),
    ),
  };
}

/** Adapter v2 without prefixes. */
function scales(make: (size: number, what: string) => TestTensor): TestAdapter {
  const tensors: Record<string, TestTensor> = {};
  const sizes = { 'attn.qkv': 64, 'attn.proj': 32, 'mlp.fc_1': 40, 'mlp.fc_2': 40, 'mlp.proj': 32 };
  const all = [0, 1].flatMap((l) => Object.entries(sizes).map(([m, n]) => [`transformer.h.${l}.${m}`, n] as const));
  for (const [name, size] of [...all, ['lm_head', 97] as const])
    for (const what of ['scale', 'bias']) tensors[`${name}.adapter_${what}`] = make(size, what);
  return { settings: { kind: 'adapter_v2', adapter_start_layer: 2 }, tensors };
}

const constant = (size: number, value: number) => f32([size], new Array(size).fill(value));

let plain: Float32Array;
let lora: string;
let wide: string;
let prefix: string;
let v2: string;
beforeAll(async () => {
  plain = await logitsWith([]);
  lora = await inFolder(llamaLora(1));
  wide = await inFolder(llamaLora(20, { rank: 2, targets: ['k_proj', 'o_proj', 'gate_proj', 'up_proj'] }));
  prefix = await inFolder(prefixAdapter([0.5, -0.4, 0.3, 0.8]), LITGPT_FILES);
  const near1 = (size: number, what: string) =>
    f32(
      [size],
      noise(size, size, 0.1).map((x) => (what === 'scale' ? 1 + x : x)),
    );
  v2 = await inFolder(scales(near1), LITGPT_FILES);
});

describe('adapters that change nothing', () => {
  test.each(['float32', 'int8', 'int4'] as const)(
    'give exactly the base logits, merged and live, in %s',
    async (weights) => {
      const nothing = [
        await inFolder(llamaLora(3, { b: 0 })),
        await inFolder(prefixAdapter([0, 0, 0, 0]), LITGPT_FILES),
        await inFolder(
          scales((size, what) => constant(size, what === 'scale' ? 1 : 0)),
          LITGPT_FILES,
        ),
      ];
      const own = await logitsWith([], { weights });
      for (const path of nothing)
        for (const live of [false, true]) {
          const changed = await logitsWith([{ path, live }], { weights });
          expect(largestError(changed, own), `${path} ${live}`).toBe(0);
        }
      const unused = await logitsWith(
        [
          { path: lora, weight: 0, live: true },
          { path: v2, weight: 0 },
        ],
        { weights },
      );
      expect(largestError(unused, own)).toBe(0);
    },
  );
});

describe('merged and live', () => {
  it('are the same, alone and together, with any weights', async () => {
    const sources = [
      [{ path: lora }],
      [{ path: v2, weight: 0.5 }],
      [{ path: prefix, weight: -1 }],
      [{ path: lora, weight: 0.7 }, { path: wide }],
      [{ path: lora, weight: 0.7 }, { path: wide, weight: -0.3 }, { path: prefix, weight: 0.5 }, { path: v2 }],
    ];
    for (const adapters of sources) {
      const merged = await logitsWith(adapters);
      const live = await logitsWith(adapters.map((adapter) => ({ ...adapter, live: true })));
      expect(relativeError(live, merged)).toBeLessThan(1e-4);
      expect(largestError(merged, plain)).toBeGreaterThan(0.1);
    }
  });

  it('low-rank adapters may be partly merged, partly live', async () => {
    const adapters = [{ path: lora, weight: 0.7 }, { path: wide }];
    const mixed = await logitsWith(adapters.map((adapter, i) => ({ ...adapter, live: i === 0 })));
    expect(relativeError(mixed, await logitsWith(adapters))).toBeLessThan(1e-4);
  });

  it('all eight choices of queries, keys and values, with fewer groups than heads', async () => {
    const rows = { q: 32, k: 16, v: 16 };
    const flags = { q: 'lora_query', k: 'lora_key', v: 'lora_value' };
    for (let bits = 0; bits < 8; bits++) {
      const parts = (['q', 'k', 'v'] as const).filter((_, i) => (bits >> i) & 1);
      const out = parts.reduce((sum, part) => sum + rows[part], 0);
      const tensors: Record<string, TestTensor> = {};
      for (const l of parts.length > 0 ? [0, 1] : []) {
        tensors[`transformer.h.${l}.attn.qkv.lora_A`] = matrix(3 * parts.length, 32, l);
        tensors[`transformer.h.${l}.attn.qkv.lora_B`] = matrix(out, 3, l + 2);
      }
      const settings = { kind: 'lora', lora_r: 3, ...Object.fromEntries(parts.map((part) => [flags[part], true])) };
      const path = await inFolder({ settings, tensors }, LITGPT_FILES);
      const [merged, live] = [await logitsWith([{ path }]), await logitsWith([{ path, live: true }])];
      expect(relativeError(live, merged)).toBeLessThan(1e-4);
      if (bits === 0) expect(largestError(live, plain)).toBe(0);
      else expect(largestError(live, plain)).toBeGreaterThan(0.01);
    }
  });

  test.each(['int8', 'int4'] as const)('over %s: close to the adapter in float32', async (weights) => {
    const far = largestError(await logitsWith([], { weights }), plain);
    const exact = await logitsWith([{ path: lora }, { path: v2 }]);
    for (const live of [false, true]) {
      const made = await logitsWith(
        [
          { path: lora, live },
          { path: v2, live },
        ],
        { weights },
      );
      expect(largestError(made, exact)).toBeLessThan(4 * far);
    }
  });

  it('prepared weights know which adapters are in them', async () => {
    const own = join(folder, 'prepared');
    const entries = async () => (await readdir(join(own, 'weights'))).length;
    for (const adapters of [[], [{ path: lora }], [{ path: lora, weight: 0.5 }], [{ path: wide }]])
      await (await load(adapters, { cacheDir: own })).dispose();
    expect(await entries()).toBe(4);
    for (const adapters of [
      [{ path: lora }],
      [
        { path: lora, live: true },
        { path: wide, live: true },
      ],
    ])
      await (await load(adapters, { cacheDir: own })).dispose();
    expect(await entries()).toBe(4);
  });

  it('a saved cache belongs to the adapters', async () => {
    const prints = new Set<string>();
    for (const adapters of [
      [],
      [{ path: lora }],
      [{ path: lora, weight: 2 }],
      [{ path: lora, live: true }],
      [{ path: wide }],
    ]) {
      await using model = await load(adapters);
      prints.add(model.fingerprint);
    }
    expect(prints.size).toBe(5);
  });
});

describe('a batch', () => {
  it('of four rows with three adapters is what single runs are', async () => {
    await using model = await load([
      { path: lora, live: true, name: 'a' },
      { path: wide, live: true, name: 'b' },
      { path: prefix, live: true, name: 'c' },
    ]);
    const choices: AdapterChoice[] = ['a', { name: 'b', weight: 0.5 }, [], ['a', { name: 'c', weight: 2 }]];
    const cache = model.createCache({ policy: 'dense', batch: 4, cacheLength: 64 });
    const V = model.config.vocabSize;
    const first = await model.step(cache, PROMPTS, { logits: 'all', rowAdapters: choices });
    const second = await model.step(cache, [[3], [3], [3], [3]], { rowAdapters: choices });
    let at = 0;
    for (const [row, prompt] of PROMPTS.entries()) {
      const whole = first.logits.subarray(at * V, (at + prompt.length) * V);
      const last = second.logits.subarray(row * V, (row + 1) * V);
      const alone = await logitsOf(model, prompt, choices[row]);
      expect(largestError(Float32Array.from([...whole, ...last]), alone), `row ${row}`).toBeLessThan(1e-4);
      at += prompt.length;
    }
  });

  it('of one row is also what the merged model says, for each adapter', async () => {
    const all = { lora, wide, prefix, v2 };
    const sources = Object.entries(all).map(([name, path]) => ({ path, name, live: true }));
    await using model = await load(sources);
    for (const [name, path] of Object.entries(all))
      expect(relativeError(await logitsOf(model, PROMPTS[0], name), await logitsWith([{ path }]))).toBeLessThan(1e-4);
    expect(largestError(await logitsOf(model, PROMPTS[0], []), plain)).toBe(0);
  });

  it('rows and choices must be as many', async () => {
    await using model = await load([{ path: lora, live: true, name: 'a' }]);
    const cache = model.createCache({ policy: 'dense', batch: 2, cacheLength: 8 });
    await expect(model.step(cache, [[1], [2]], { rowAdapters: ['a'] })).rejects.toThrow(/1 entries, but .* 2 rows/);
  });
});

describe('wide layers', () => {
  it('are computed in blocks of columns where that saves zeros, in batches too', async () => {
    const checkpoint = randomCheckpoint(shapes.tiny, 1);
    const rank = 256; // so that blocks are worth it in layers this small
    const lora = (seed: number): TestAdapter => {
      const tensors: Record<string, TestTensor> = {};
      for (const [name, out] of [
        ['mlp.gate_proj', 256],
        ['mlp.up_proj', 256],
        ['self_attn.q_proj', 128],
        ['self_attn.k_proj', 64],
        ['self_attn.v_proj', 64],
      ] as const) {
        const module = `base_model.model.model.layers.1.${name}`;
        tensors[`${module}.lora_A.weight`] = matrix(rank, 128, seed + out, 0.05);
        tensors[`${module}.lora_B.weight`] = matrix(out, rank, seed + out + 1, 0.05);
      }
      return { settings: { peft_type: 'LORA', r: rank, lora_alpha: rank, target_modules: [] }, tensors };
    };
    const [a, b] = [await inFolder(lora(1)), await inFolder(lora(5))];
    const options = { weights: 'float32', cacheDir } as const;
    const merged: Float32Array[] = [];
    for (const [path, weight] of [
      [a, 1],
      [b, 0.5],
    ] as const) {
      await using model = await loadModel(checkpoint, { ...options, adapters: [{ path, weight }] });
      merged.push(await logitsOf(model));
    }
    const live = [a, b].map((path, i) => ({ path, live: true, name: 'ab'[i] }));
    await using model = await loadModel(checkpoint, { ...options, adapters: live });
    expect(relativeError(await logitsOf(model, PROMPTS[0], 'a'), merged[0])).toBeLessThan(1e-4);
    const cache = model.createCache({ policy: 'dense', batch: 2, cacheLength: 64 });
    const rowAdapters = ['a', { name: 'b', weight: 0.5 }];
    const { logits } = await model.step(cache, [PROMPTS[0], PROMPTS[0]], { logits: 'all', rowAdapters });
    const half = logits.length / 2;
    for (const row of [0, 1])
      expect(relativeError(logits.subarray(row * half, (row + 1) * half), merged[row].subarray(0, half))).toBeLessThan(
        1e-4,
      );
  });
});

describe('while the model runs', () => {
  it('adapters come, change and go', async () => {
    await using model = await loadModel(LLAMA, { weights: 'float32', cacheDir });
    expect(model.adapters.names).toEqual([]);
    await model.adapters.load(await openAdapterFolder(lora), 'mine');
    expect(model.adapters.names).toEqual(['mine']);
    const merged = await logitsWith([{ path: lora }]);
    expect(largestError(await logitsOf(model), plain)).toBe(0);
    expect(relativeError(await logitsOf(model, PROMPTS[0], 'mine'), merged)).toBeLessThan(1e-4);
    model.adapters.use({ name: 'mine' });
    expect(relativeError(await logitsOf(model), merged)).toBeLessThan(1e-4);
    expect(largestError(await logitsOf(model, PROMPTS[0], []), plain)).toBe(0);
    await expect(model.adapters.load(await openAdapterFolder(wide), 'mine')).rejects.toThrow(/named mine already/);
    model.adapters.unload('mine');
    expect(model.adapters.default).toEqual([]);
    expect(() => model.adapters.standard).toThrow(/is called adapters.default/);
    expect(largestError(await logitsOf(model), plain)).toBe(0);
    await expect(logitsOf(model, PROMPTS[0], 'mine')).rejects.toThrow(/no live adapter named mine; no adapter is live/);
    expect(() => model.adapters.unload('mine')).toThrow(InputError);
  });

  it('one may be laid over a merged one, also later, of a checkpoint that the caller opened', async () => {
    const checkpoint = await openCheckpoint(LLAMA);
    const both = await logitsWith([{ path: lora }, { path: wide }]);
    await using model = await loadModel(checkpoint, { weights: 'float32', cacheDir, adapters: [{ path: lora }] });
    await model.adapters.load(await openAdapterFolder(wide), 'wide');
    expect(relativeError(await logitsOf(model, PROMPTS[0], 'wide'), both)).toBeLessThan(1e-4);
    await checkpoint.close();
  });

  it('generate writes with the adapters it is told', async () => {
    await using model = await load([{ path: lora, live: true, name: 'a', weight: 1 }]);
    await using merged = await load([{ path: lora }]);
    const options = { maxNewTokens: 8, eosTokenIds: [], cache: { policy: 'dense', cacheLength: 64 } };
    const written = async (from: LanguageModel, adapters?: AdapterChoice) =>
      (await from.generate(PROMPTS[0], { ...options, adapters }).result()).tokens.map(({ token }) => token);
    expect(await written(model)).toEqual(await written(merged));
    await using base = await load([]);
    expect(await written(model, [])).toEqual(await written(base));
    expect(await written(model)).not.toEqual(await written(base));
  });

  it('an unknown adapter leaves the cache as it was', async () => {
    await using model = await load([]);
    const cache = model.createCache({ policy: 'dense', cacheLength: 16 });
    await model.prefill(cache, [1, 2]);
    await expect(model.prefill(cache, [3], { adapters: 'none' })).rejects.toThrow(InputError);
    expect(cache.length()).toBe(2);
  });

  it('weights must be numbers', async () => {
    await expect(load([{ path: lora, weight: Number.NaN }])).rejects.toThrow(
      /adapters\[0\]: weight must be a finite number, but is NaN/,
    );
    await expect(load([{ path: lora, weight: Number.NaN, live: true }])).rejects.toThrow(InputError);
  });
});

describe('other hooks', () => {
  /** A vector of a family's case, replaced. */
  const saved = (tensors: Record<string, TestTensor>, more = {}): TestAdapter => ({
    settings: { peft_type: 'LORA', r: 2, target_modules: [], ...more },
    tensors: Object.fromEntries(Object.entries(tensors).map(([name, t]) => [`base_model.model.${name}`, t])),
  });

  it('norms are replaced, live as well, for each row of a batch', async () => {
    const path = await inFolder(
      saved({
        'model.layers.0.input_layernorm.weight': vector(32, 1, 1),
        'model.layers.1.post_attention_layernorm.weight': vector(32, 2, 1),
        'model.norm.weight': vector(32, 3, 1),
      }),
    );
    const merged = await logitsWith([{ path, weight: 0.8 }]);
    expect(relativeError(await logitsWith([{ path, weight: 0.8, live: true }]), merged)).toBeLessThan(1e-4);
    await using model = await load([{ path, live: true, name: 'n' }]);
    const cache = model.createCache({ policy: 'dense', batch: 2, cacheLength: 16 });
    const chunk = [PROMPTS[0], PROMPTS[0]];
    const { logits } = await model.step(cache, chunk, { logits: 'all', rowAdapters: [[], { name: 'n', weight: 0.8 }] });
    expect(relativeError(logits.subarray(0, logits.length / 2), plain.subarray(0, logits.length / 2))).toBeLessThan(
      1e-4,
    );
    const second = logits.subarray(logits.length / 2);
    expect(relativeError(second, merged.subarray(0, second.length))).toBeLessThan(1e-4);
  });

  it('what the graph has no hook for is merged, and refused by name when it is to be live', async () => {
    const cases = [
      [
        'qwen3',
        saved({ 'model.layers.0.self_attn.q_norm.weight': vector(12, 1) }),
        /norm_q.*can't be changed by a live adapter; merge it/,
      ],
      ['gpt2', saved({ 'transformer.wpe.weight': matrix(128, 32, 1) }), /wpe.*can't be changed by a live adapter/],
    ] as const;
    for (const [name, adapter, message] of cases) {
      const path = await inFolder(adapter);
      const options = { weights: 'float32', cacheDir } as const;
      await using base = await loadModel(caseFolder(name), options);
      await using merged = await loadModel(caseFolder(name), { ...options, adapters: [{ path }] });
      expect(largestError(await logitsOf(merged), await logitsOf(base))).toBeGreaterThan(1e-3);
      const live = loadModel(caseFolder(name), { ...options, adapters: [{ path, live: true }] });
      await expect(live).rejects.toThrow(AdapterError);
      await expect(live).rejects.toThrow(message);
    }
  });

  it('experts are merged one by one, and refused by name when they are to be live', async () => {
    const name = 'base_model.model.model.layers.1.mlp.experts.2.up_proj';
    const checkpoint = await openCheckpoint(caseFolder('qwen3_moe'));
    const [out, width] = checkpoint.tensors.get('model.layers.1.mlp.experts.2.up_proj.weight')!.shape;
    await checkpoint.close();
    const tensors = {
      [`${name}.lora_A.weight`]: matrix(2, width, 1, 1),
      [`${name}.lora_B.weight`]: matrix(out, 2, 2, 3),
    };
    const settings = { peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: ['up_proj'] };
    const path = await inFolder({ settings, tensors });
    const options = { weights: 'float32', cacheDir } as const;
    await using base = await loadModel(caseFolder('qwen3_moe'), options);
    await using merged = await loadModel(caseFolder('qwen3_moe'), { ...options, adapters: [{ path }] });
    expect(largestError(await logitsOf(merged), await logitsOf(base))).toBeGreaterThan(1e-3);
    await expect(loadModel(caseFolder('qwen3_moe'), { ...options, adapters: [{ path, live: true }] })).rejects.toThrow(
      /h\.1\.mlp\.experts\.2\.up_proj|h\.1\.mlp\.experts.*can't be changed by a live adapter/,
    );
  });

  it('adapters for another base are refused, whichever way', async () => {
    for (const live of [false, true]) {
      const options = { weights: 'float32', cacheDir, adapters: [{ path: lora, live }] } as const;
      await expect(loadModel(caseFolder('gpt2'), options)).rejects.toThrow(/it changes the module .* does not have/);
      await expect(loadModel(caseFolder('gpt2'), options)).rejects.toThrow(AdapterError);
    }
    await expect(load([{ path: join(folder, 'nowhere') }])).rejects.toThrow(/nowhere: does not exist/);
  });
});
