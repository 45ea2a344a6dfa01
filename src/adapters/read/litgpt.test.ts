import { afterAll, describe, expect, it, test } from 'vitest';
import { LITGPT_FILES, matrix, noise, openBase, openTestAdapter, vector } from '../../../test/support/adapters.ts';
import { f32, type TestTensor } from '../../../test/support/safetensors-bytes.ts';
import { AdapterError } from '../../util/errors.ts';
import { changedRows } from '../merge/change-rows.ts';
import type { Adapter } from '../types.ts';

const { base, close } = await openBase('llama');
afterAll(close);

type Tensors = Record<string, TestTensor>;

async function read(settings: unknown, tensors: Tensors | Uint8Array): Promise<Adapter> {
  const open = await openTestAdapter({ settings, tensors }, LITGPT_FILES);
  return open.readFor(base);
}

async function refusal(settings: unknown, tensors: Tensors | Uint8Array): Promise<string> {
  const error = await read(settings, tensors).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(AdapterError);
  return (error as Error).message;
}

/** E 32, H 4, G 2, D 8. */
const SIZES = { q: 32, k: 16, v: 16 };
const FLAGS = { q: 'lora_query', k: 'lora_key', v: 'lora_value' } as const;
type Part = keyof typeof SIZES;

/** What LitGPT's LoRAQKVLinear adds to the rows [Q | K | V]: each enabled part has its own rows of A and of B. */
function added(
  parts: readonly Part[],
  a: readonly number[],
  b: readonly number[],
  r: number,
  factor: number,
): number[][] {
  const all: number[][] = [];
  let rowOfB = 0;
  for (const part of ['q', 'k', 'v'] as const)
    for (let row = 0; row < SIZES[part]; row++) {
      const out = new Array<number>(32).fill(0);
      const nth = parts.indexOf(part);
      if (nth >= 0) {
        for (let k = 0; k < r; k++)
          for (let e = 0; e < 32; e++) out[e] += factor * b[rowOfB * r + k] * a[(nth * r + k) * 32 + e];
        rowOfB++;
      }
      all.push(out);
    }
  return all;
}

describe('LoRA of fused queries, keys and values', () => {
  const combinations = Array.from({ length: 8 }, (_, bits) =>
    (['q', 'k', 'v'] as const).filter((_part, i) => (bits >> i) & 1),
  );
  test.each(combinations.map((parts) => [parts.join('') || 'none', parts] as const))('%s', async (_, parts) => {
    const r = 3;
    const rows = parts.reduce((sum, part) => sum + SIZES[part], 0);
    const [a, b] = [noise(r * parts.length * 32, 1), noise(rows * r, 2)].map((list) => list.map(Math.fround));
    const tensors: Tensors = {};
    for (const layer of [0, 1]) {
      if (parts.length === 0) continue;
      tensors[`transformer.h.${layer}.attn.qkv.lora_A`] = f32([r * parts.length, 32], a);
      tensors[`transformer.h.${layer}.attn.qkv.lora_B`] = f32([rows, r], b);
    }
    const flags = Object.fromEntries(parts.map((part) => [FLAGS[part], true]));
    const adapter = await read({ kind: 'lora', lora_r: r, lora_alpha: 6, lora_dropout: 0.1, ...flags }, tensors);
    const expected = added(parts, a, b, r, 2);
    let row = 0;
    for (const part of ['q', 'k', 'v'] as const) {
      const name = `h.1.attn.${part}`;
      const own = await base.weight(name).read(0, SIZES[part]);
      const change = adapter.parts.get(name);
      const made = change ? await changedRows(base.weight(name), [{ change, weight: 1 }]).read(0, SIZES[part]) : own;
      for (let i = 0; i < SIZES[part]; i++, row++)
        for (let e = 0; e < 32; e++)
          expect(Math.abs(made[i * 32 + e] - own[i * 32 + e] - expected[row][e])).toBeLessThan(1e-5);
    }
  });
});

it('reads projection, MLP and head where they are enabled', async () => {
  const tensors: Tensors = { 'lm_head.lora_A': matrix(2, 32, 1), 'lm_head.lora_B': matrix(97, 2, 2) };
  for (const layer of [0, 1])
    for (const [name, out, width] of [
      ['attn.proj', 32, 32],
      ['mlp.fc_1', 40, 32],
      ['mlp.fc_2', 40, 32],
      ['mlp.proj', 32, 40],
    ] as const) {
      tensors[`transformer.h.${layer}.${name}.lora_A`] = matrix(2, width, 3);
      tensors[`transformer.h.${layer}.${name}.lora_B`] = matrix(out, 2, 4);
    }
  const settings = { kind: 'lora', lora_r: 2, lora_alpha: 2, lora_projection: true, lora_mlp: true, lora_head: true };
  const { parts } = await read(settings, tensors);
  expect([...parts.keys()].sort()).toEqual(
    [
      'lm_head',
      ...[0, 1].flatMap((l) => ['attn.proj', 'mlp.fc_1', 'mlp.fc_2', 'mlp.proj'].map((m) => `h.${l}.${m}`)),
    ].sort(),
  );
  expect(await refusal({ ...settings, lora_head: false }, tensors)).toMatch(/2 of its tensors have no use: lm_head/);
});

const PREFIX = {
  'transformer.h.1.attn.adapter_wte.weight': matrix(5, 32, 1),
  'transformer.h.1.attn.gating_factor': f32([1, 1, 4, 1], [1, 2, 3, 4]),
};
const PREFIX_SETTINGS = { kind: 'adapter', adapter_prompt_length: 5, adapter_start_layer: 1 };

it('reads prefixes and gates from the start layer on', async () => {
  const { prefixes, parts } = await read(PREFIX_SETTINGS, PREFIX);
  expect([...prefixes.keys()]).toEqual([1]);
  expect([...prefixes.get(1)!.gates]).toEqual([1, 2, 3, 4]);
  expect(parts.size).toBe(0);
});

it("takes adapter v2's norms, which are trained whole", async () => {
  const tensors: Tensors = { ...PREFIX, 'transformer.ln_f.weight': vector(32, 1) };
  const names = [0, 1].flatMap((l) => ['attn.qkv', 'attn.proj', 'mlp.fc_1', 'mlp.fc_2', 'mlp.proj'].map((m) => [l, m]));
  const sizes: Record<string, number> = { 'attn.qkv': 64, 'mlp.fc_1': 40, 'mlp.fc_2': 40 };
  for (const [l, m] of names)
    for (const what of ['scale', 'bias'])
      tensors[`transformer.h.${l}.${m}.adapter_${what}`] = vector(sizes[m] ?? 32, 2);
  for (const what of ['scale', 'bias']) tensors[`lm_head.adapter_${what}`] = vector(97, 3);
  const adapter = await read({ ...PREFIX_SETTINGS, kind: 'adapter_v2' }, tensors);
  expect([...adapter.vectors.keys()]).toEqual(['ln_f.weight']);
  expect(adapter.parts.get('h.0.attn.k')!.scale).toHaveLength(16);
  delete tensors['transformer.h.0.mlp.fc_2.adapter_bias'];
  expect(await refusal({ ...PREFIX_SETTINGS, kind: 'adapter_v2' }, tensors)).toMatch(
    /the tensor transformer\.h\.0\.mlp\.fc_2\.adapter_bias is missing/,
  );
});

describe('refuses', () => {
  const qkv = {
    'transformer.h.0.attn.qkv.lora_A': matrix(2, 32, 1),
    'transformer.h.0.attn.qkv.lora_B': matrix(32, 2, 1),
  };
  const lora = { kind: 'lora', lora_r: 2, lora_query: true };

  test.each([
    ['another kind', { kind: 'prefix' }, {}, /kind is "prefix", but must be one of lora, adapter, adapter_v2/],
    ['no kind', {}, {}, /kind is null/],
    ['no rank', { kind: 'lora' }, {}, /lora_r is missing/],
    ['a rank of 0', { kind: 'lora', lora_r: 0 }, {}, /lora_r must be a number above 0, but is 0/],
    ['flags that are no flags', { ...lora, lora_query: 1 }, {}, /lora_query must be true or false/],
    ['options it does not know', { ...lora, lora_magic: 3 }, { ...qkv }, /the tensor .* is missing|lora_magic/],
    ['a layer without tensors', lora, qkv, /the tensor transformer\.h\.1\.attn\.qkv\.lora_A is missing/],
    [
      'another rank',
      { ...lora, lora_r: 4 },
      qkv,
      /qkv\.lora_A has shape \[2,32\], but with these settings and h\.0\.attn\.qkv of \[64,32\] in .*llama.* it is \[4,32\]/,
    ],
    [
      'gates of another number of heads',
      PREFIX_SETTINGS,
      { ...PREFIX, 'transformer.h.1.attn.gating_factor': vector(8, 1) },
      /gating_factor has shape \[8\], but the number of heads of the base has 4/,
    ],
    [
      'prefixes of another width',
      PREFIX_SETTINGS,
      { ...PREFIX, 'transformer.h.1.attn.adapter_wte.weight': matrix(5, 16, 1) },
      /has shape \[5,16\], but 5 positions of .* are \[5,32\]/,
    ],
    [
      'what has no use',
      PREFIX_SETTINGS,
      { ...PREFIX, 'transformer.h.7.attn.gating_factor': vector(4, 1) },
      /1 of its tensors have no use: transformer\.h\.7\.attn\.gating_factor/,
    ],
    [
      'values that are not finite',
      PREFIX_SETTINGS,
      { ...PREFIX, 'transformer.h.1.attn.gating_factor': f32([4], [1, Number.NaN, 0, 0]) },
      /gating_factor holds values that are not finite/,
    ],
    [
      'whole layers of another shape',
      PREFIX_SETTINGS,
      { ...PREFIX, 'transformer.h.0.attn.qkv.linear.weight': matrix(64, 16, 1) },
      /linear\.weight has shape \[64,16\], but in .* it is \[64,32\]/,
    ],
  ] as const)('%s', async (_, settings, tensors, message) => {
    expect(await refusal(settings, tensors)).toMatch(message);
  });

  it('settings that are no JSON, or no object', async () => {
    expect(await refusal('{', PREFIX)).toMatch(/settings\.json is not valid JSON/);
    expect(await refusal('[]', PREFIX)).toMatch(/settings\.json must be a JSON object/);
  });
});
