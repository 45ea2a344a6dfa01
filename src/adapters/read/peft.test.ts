import fc from 'fast-check';
import { afterAll, describe, expect, it, test } from 'vitest';
import {
  llamaLora,
  matrix,
  openBase,
  openTestAdapter,
  type TestAdapter,
  vector,
} from '../../../test/support/adapters.ts';
import { bytesSource, f32, safetensorsFile, type TestTensor } from '../../../test/support/safetensors-bytes.ts';
import { AdapterError, CheckpointError, KeyholdError } from '../../util/errors.ts';
import { openAdapter } from './open-adapter.ts';

const { base, close } = await openBase('llama');
afterAll(close);

const Q = 'base_model.model.model.layers.0.self_attn.q_proj';

async function read(adapter: TestAdapter) {
  return (await openTestAdapter(adapter)).readFor(base);
}

async function refusal(adapter: TestAdapter): Promise<string> {
  const error = await read(adapter).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(AdapterError);
  return (error as Error).message;
}

/** The usual adapter with other settings or tensors. */
function changed(settings: Record<string, unknown>, tensors: Record<string, TestTensor | null> = {}): TestAdapter {
  const { settings: own, tensors: all } = llamaLora(1);
  const kept = Object.entries({ ...(all as Record<string, TestTensor>), ...tensors }).filter(([, t]) => t !== null);
  return { settings: { ...(own as object), ...settings }, tensors: Object.fromEntries(kept as [string, TestTensor][]) };
}

const values = async (adapter: TestAdapter, part = 'h.0.attn.q') => (await read(adapter)).parts.get(part)!.lowRank!;

describe('scaling', () => {
  const firstOfB = async (settings: Record<string, unknown>) => (await values(changed(settings))).b.data[0];

  it('is alpha / r, alpha / √r, or what a pattern says', async () => {
    const one = await firstOfB({ lora_alpha: 4 });
    expect(await firstOfB({ lora_alpha: 12 })).toBeCloseTo(3 * one, 6);
    expect(await firstOfB({ lora_alpha: 4, use_rslora: true })).toBeCloseTo(2 * one, 6);
    expect(await firstOfB({ lora_alpha: 4, alpha_pattern: { 'layers.0.self_attn.q_proj': 8 } })).toBeCloseTo(
      2 * one,
      6,
    );
    expect(await firstOfB({ lora_alpha: 4, alpha_pattern: { '(k|q)_proj': 8, v_proj: 99 } })).toBeCloseTo(2 * one, 6);
    expect(await firstOfB({ lora_alpha: 4, alpha_pattern: { proj: 8 } })).toBeCloseTo(one, 6);
  });
});

describe('names', () => {
  it('of other versions and of bases inside of others are found', async () => {
    const { settings, tensors } = llamaLora(1);
    for (const rename of [
      (name: string) => name.replace('.weight', '.default.weight'),
      (name: string) => name.replace('base_model.model.', ''),
      (name: string) => name.replace('model.model.model.', 'model.model.'),
      (name: string) => name.replace('model.layers', 'model.language_model.model.layers'),
    ]) {
      const renamed = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [rename(name), tensor]));
      expect([...(await read({ settings, tensors: renamed })).parts.keys()].sort()).toEqual(
        [0, 1].flatMap((l) => ['attn.q', 'attn.v', 'mlp.proj'].map((m) => `h.${l}.${m}`)),
      );
    }
  });

  it('of targets may be a pattern, and layers may be chosen', async () => {
    expect(await read(changed({ target_modules: String.raw`.*\.(q_proj|v_proj|down_proj)` }))).toBeDefined();
    const first = Object.fromEntries(
      Object.entries(llamaLora(1).tensors).filter(([name]) => !name.includes('layers.0')),
    );
    const settings = { ...(llamaLora(1).settings as object), layers_to_transform: 1 };
    expect([...(await read({ settings, tensors: first })).parts.keys()]).toHaveLength(3);
    expect(await refusal({ settings: { ...settings, layers_to_transform: [0, 1] }, tensors: first })).toMatch(
      /makes model\.layers\.0\.self_attn\.q_proj a target, but its tensors are missing/,
    );
  });
});

describe('refuses', () => {
  test.each([
    ['another method', { peft_type: 'IA3' }, /peft_type is "IA3", but only LORA is supported/],
    ['no method', { peft_type: undefined }, /peft_type is null/],
    ['pissa', { init_lora_weights: 'pissa_niter_4' }, /init_lora_weights is "pissa_niter_4", which changed the base/],
    ['parameters as targets', { target_parameters: ['experts.gate'] }, /target_parameters .* is not supported/],
    ['trainable tokens', { trainable_token_indices: [1] }, /trainable_token_indices .* is not supported/],
    ['activated LoRA', { alora_invocation_tokens: [1] }, /alora_invocation_tokens .* is not supported/],
    ['replicated layers', { layer_replication: [[0, 2]] }, /layer_replication .* is not supported/],
    ['qalora', { use_qalora: true }, /use_qalora .* is not supported/],
    ['what is not known yet', { use_marvels: { a: 1 } }, /use_marvels \(\{"a":1\}\) is not supported/],
    ['a rank of 0', { r: 0 }, /: r must be a number above 0, but is 0/],
    ['a rank of half', { r: 0.5 }, /: r must be a whole number/],
    ['alpha as text', { lora_alpha: '8' }, /lora_alpha must be a number above 0, but is "8"/],
    ['patterns that are none', { alpha_pattern: { '(': 1 } }, /the pattern has a group that is not closed/],
    ['lists that are none', { target_modules: [1] }, /target_modules must be a list of texts/],
    ['another rank than stated', { r: 8 }, /lora_A\.weight has rank 4, but adapter_config\.json says 8/],
    ['a rank pattern that lies', { rank_pattern: { q_proj: 2 } }, /has rank 4, but adapter_config\.json says 2/],
    ['a missing magnitude', { use_dora: true }, /self_attn\.q_proj\.lora_magnitude_vector is missing|down_proj/],
    ['saved modules that are not there', { modules_to_save: ['lm_head'] }, /the module lm_head was saved, but/],
    ['targets that are not there', { target_modules: ['q_proj', 'v_proj', 'down_proj', 'k_proj'] }, /k_proj a target/],
    ['all linear layers, and some are not there', { target_modules: 'all-linear' }, /k_proj a target/],
  ] as const)('%s', async (_, settings, message) => {
    expect(await refusal(changed(settings))).toMatch(message);
  });

  test.each([
    ['half of a pair', { [`${Q}.lora_B.weight`]: null }, /layers\.0\.self_attn\.q_proj\.lora_B is missing/],
    [
      'a shape of another model, naming both',
      { [`${Q}.lora_B.weight`]: matrix(64, 4, 1) },
      /lora_A\.weight has shape \[4,32\] and .*lora_B\.weight \[64,4\], but in .*llama.* is \[32,32\]/,
    ],
    ['vectors in place of matrices', { [`${Q}.lora_A.weight`]: vector(128, 1) }, /shape \[128\], but a matrix/],
    [
      'modules that the base does not have',
      { 'base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight': matrix(4, 32, 1) },
      /it changes the module model\.layers\.9\.self_attn\.q_proj, which .*llama.* does not have; it was made for other\/model/,
    ],
    [
      'tensors without use',
      { 'base_model.model.score.weight': matrix(2, 32, 1) },
      /have no use: base_model\.model\.score/,
    ],
    [
      'whole modules of another shape',
      { 'base_model.model.lm_head.weight': matrix(98, 32, 1) },
      /lm_head\.weight has shape \[98,32\], but in .*llama.* lm_head\.weight has \[97,32\]/,
    ],
    [
      'values that are not finite',
      { [`${Q}.lora_B.weight`]: f32([32, 4], new Array(128).fill(Number.POSITIVE_INFINITY)) },
      /not finite/,
    ],
  ] as const)('%s', async (_, tensors, message) => {
    expect(await refusal(changed({ base_model_name_or_path: 'other/model' }, tensors))).toMatch(message);
  });
});

describe('settings of any kind', () => {
  const KEYS = [
    ...[
      'r',
      'lora_alpha',
      'use_rslora',
      'use_dora',
      'rank_pattern',
      'alpha_pattern',
      'target_modules',
      'exclude_modules',
    ],
    ...['modules_to_save', 'layers_to_transform', 'layers_pattern', 'init_lora_weights', 'ensure_weight_tying', 'bias'],
    ...['base_model_name_or_path', 'peft_type', 'target_parameters', 'lora_bias'],
  ];
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom<unknown>('(', '.*', ['('], { '(': 1 }, { q_proj: '1' }, [[1]], -1, 1e99, '__proto__', [
      '__proto__',
    ]),
  );

  it('give an adapter or an error of ours', async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...KEYS), value, { maxKeys: 4 }), async (settings) => {
        const error = await read(changed(settings)).catch((e: unknown) => e);
        if (error instanceof Error) expect(error, `${error.stack}`).toBeInstanceOf(AdapterError);
      }),
      { numRuns: 300 },
    );
  });
});

describe('files', () => {
  const files = (entries: Record<string, Uint8Array | string>) => {
    const all = new Map(Object.entries(entries).map(([name, data]) => [name, new TextEncoder().encode(`${data}`)]));
    return {
      name: 'here',
      list: async () => [...all.keys()],
      open: async (name: string) => (all.has(name) ? bytesSource(all.get(name)!, name) : undefined),
    };
  };

  it('that are missing are named', async () => {
    await expect(openAdapter(files({}))).rejects.toThrow(/neither adapter_config\.json .* nor settings\.json/);
    await expect(openAdapter(files({ 'adapter_config.json': '{}' }))).rejects.toThrow(/no adapter_model\.safetensors/);
    await expect(openAdapter(files({ 'settings.json': '{}', a: '' }))).rejects.toThrow(/no adapter\.safetensors/);
    await expect(
      openAdapter(files({ 'settings.json': '{}', 'a.safetensors': '', 'b.safetensors': '' })),
    ).rejects.toThrow(AdapterError);
  });

  it('that are pickled are not read, and how to convert them is said', async () => {
    const pickled = { 'adapter_config.json': '{}', 'adapter_model.bin': 'x' };
    await expect(openAdapter(files(pickled))).rejects.toThrow(/pickle format \(adapter_model\.bin\), .*save_file/);
    await expect(openAdapter(files({ 'settings.json': '{}', 'lit_model.pth.lora': '' }))).rejects.toThrow(/pickle/);
  });

  it('that are damaged anywhere give an error of ours, or the same adapter', async () => {
    const { settings, tensors } = llamaLora(1, { targets: ['q_proj'] });
    const whole = safetensorsFile(tensors as Record<string, TestTensor>);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), fc.boolean(), async (at, byte, cut) => {
        const bytes = cut ? whole.slice(0, at) : whole.slice();
        if (!cut) bytes[at] = byte;
        const error = await read({ settings, tensors: bytes }).catch((e: unknown) => e);
        if (error instanceof Error) expect(error).toBeInstanceOf(KeyholdError);
      }),
      { numRuns: 150 },
    );
    expect((await read({ settings, tensors: whole }).catch((e: Error) => e)) instanceof CheckpointError).toBe(false);
  });
});
