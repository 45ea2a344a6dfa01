/**
 * @file Adapters made for tests: their files in memory or in a folder, with any tensors and settings.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BaseModel as Base, type BaseModel } from '../../src/adapters/base-model.ts';
import type { OpenAdapter } from '../../src/adapters/read/adapter-files.ts';
import { openAdapter } from '../../src/adapters/read/open-adapter.ts';
import { openCheckpointFolder } from '../../src/checkpoint/open-node.ts';
import { planModel } from '../../src/load/plan.ts';
import { caseFolder } from './family-cases.ts';
import { bytesSource, f32, safetensorsFile, type TestTensor } from './safetensors-bytes.ts';

/** Settings, and tensors or the bytes of a file. */
export interface TestAdapter {
  readonly settings: unknown;
  readonly tensors: Readonly<Record<string, TestTensor>> | Uint8Array;
}

const bytesOf = ({ tensors }: TestAdapter) =>
  tensors instanceof Uint8Array ? tensors : safetensorsFile({ ...tensors });
const textOf = ({ settings }: TestAdapter) => (typeof settings === 'string' ? settings : JSON.stringify(settings));

/** The names of a kind's two files. */
const PEFT_FILES = ['adapter_config.json', 'adapter_model.safetensors'] as const;
export const LITGPT_FILES = ['settings.json', 'adapter.safetensors'] as const;

export async function openTestAdapter(
  adapter: TestAdapter,
  [settings, tensors]: readonly [string, string] = PEFT_FILES,
): Promise<OpenAdapter> {
  const files = new Map([
    [settings, new TextEncoder().encode(textOf(adapter))],
    [tensors, bytesOf(adapter)],
  ]);
  return openAdapter({
    name: 'an adapter',
    list: async () => [...files.keys()],
    open: async (file) => (files.has(file) ? bytesSource(files.get(file)!, file) : undefined),
  });
}

/** Writes an adapter into a folder. */
export async function writeTestAdapter(
  folder: string,
  adapter: TestAdapter,
  [settings, tensors]: readonly [string, string] = PEFT_FILES,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, settings), textOf(adapter));
  await writeFile(join(folder, tensors), bytesOf(adapter));
  return folder;
}

/** A family's case as adapters see it; to be closed. */
export async function openBase(name: string): Promise<{ base: BaseModel; close(): Promise<void> }> {
  const checkpoint = await openCheckpointFolder(caseFolder(name));
  return { base: new Base(checkpoint, planModel(checkpoint)), close: () => checkpoint.close() };
}

/** Normal-ish values, the same for the same seed. */
export function noise(length: number, seed: number, spread = 0.3): number[] {
  let state = seed * 2654435761 + 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return Array.from({ length }, () => (next() + next() + next()) * 2 * spread);
}

export const matrix = (rows: number, cols: number, seed: number, spread?: number): TestTensor =>
  f32([rows, cols], noise(rows * cols, seed, spread));

export const vector = (length: number, seed: number, spread?: number): TestTensor =>
  f32([length], noise(length, seed, spread));

/**
 * LoRA on the `llama` case (E 32, 4 heads of 8 in 2 groups, F 40, 2 layers).
 * @param b spread of B; 0: it changes nothing.
 */
export function llamaLora(
  seed: number,
  { rank = 4, targets = ['q_proj', 'v_proj', 'down_proj'], b = 0.3, more = {} }: LoraChoice = {},
): TestAdapter {
  const tensors: Record<string, TestTensor> = {};
  for (const layer of [0, 1])
    for (const target of targets) {
      const [out, width] = LLAMA_SHAPES[target];
      const group = /gate|up|down/.test(target) ? 'mlp' : 'self_attn';
      const name = `base_model.model.model.layers.${layer}.${group}.${target}`;
      tensors[`${name}.lora_A.weight`] = matrix(rank, width, seed + layer);
      tensors[`${name}.lora_B.weight`] = matrix(out, rank, seed + 7 + layer, b);
    }
  return { settings: { peft_type: 'LORA', r: rank, lora_alpha: 2 * rank, target_modules: targets, ...more }, tensors };
}

interface LoraChoice {
  readonly rank?: number;
  readonly targets?: readonly string[];
  readonly b?: number;
  readonly more?: Readonly<Record<string, unknown>>;
}

const LLAMA_SHAPES: Readonly<Record<string, readonly [number, number]>> = {
  q_proj: [32, 32],
  k_proj: [16, 32],
  v_proj: [16, 32],
  o_proj: [32, 32],
  gate_proj: [40, 32],
  up_proj: [40, 32],
  down_proj: [32, 40],
};

/** A random LoRA on every matrix that the model's modules have, without single experts, and replaced norms. */
export async function loraOnAll(name: string): Promise<TestAdapter> {
  const { base, close } = await openBase(name);
  const tensors: Record<string, TestTensor> = {};
  let seed = 0;
  for (const module of base.modules.values()) {
    if (module.parts[0].part.name.includes('.experts.')) continue;
    const at = `base_model.model.${module.name}`;
    const [a, b] = module.embedding ? ['lora_embedding_B', 'lora_embedding_A'] : ['lora_A.weight', 'lora_B.weight'];
    const [first, second] = [matrix(2, module.in, seed++, 0.15), matrix(module.out, 2, seed++, 0.15)];
    tensors[`${at}.${a}`] = module.embedding ? { ...first, shape: [module.in, 2] } : first;
    tensors[`${at}.${b}`] = module.embedding ? { ...second, shape: [2, module.out] } : second;
  }
  for (const vectorName of base.vectors.keys()) {
    if (!/(^|\.)(norm_[12]|ln_f)\.weight$/.test(vectorName)) continue;
    const place = base.tensor(vectorName);
    if (place?.stored) tensors[`base_model.model.${place.name}`] = vector(place.stored.shape[0], seed++, 0.5);
  }
  await close();
  return { settings: { peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: [] }, tensors };
}
