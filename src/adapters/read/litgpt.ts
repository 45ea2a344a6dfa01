/**
 * @file LitGPT's adapters: LoRA, adapter (prefixes with gates), adapter v2 (a scale and a bias on every linear layer
 * besides). Tensors have LitGPT's names (`transformer.h.0.attn.qkv.lora_A`); settings.json says which kind it is, and
 * with what options.
 */
import type { StoredTensor } from '../../checkpoint/types.ts';
import { attentionWithin } from '../../config/layer-spec.ts';
import { mapRows, sliceRows, tensorRows } from '../../weights/rows.ts';
import type { RowSource } from '../../weights/types.ts';
import type { BaseModel, BasePart } from '../base-model.ts';
import type { Adapter, Matrix, PartChange, PrefixChange } from '../types.ts';
import type { AdapterTensors } from './adapter-files.ts';
import { takeRows } from './peft.ts';
import { Settings } from './settings.ts';

export const LITGPT_SETTINGS = 'settings.json';
export const LITGPT_TENSORS = 'adapter.safetensors';
const KINDS = ['lora', 'adapter', 'adapter_v2'] as const;

/** A linear layer of LitGPT: the parts that its rows are, in order. */
interface Layer {
  readonly name: string;
  readonly parts: readonly BasePart[];
  readonly out: number;
  readonly in: number;
}

/** @throws AdapterError for settings or tensors that do not fit the base, or are not supported. */
export async function readLitgpt(tensors: AdapterTensors, settings: string, base: BaseModel): Promise<Adapter> {
  const where = `${tensors.name}: ${LITGPT_SETTINGS}`;
  const s = Settings.parse(settings, where);
  const kind = s.text('kind');
  const reader = new LitgptReader(tensors, base);
  if (kind === 'lora') await reader.readLora(s);
  else if (kind === 'adapter' || kind === 'adapter_v2') await reader.readPrefixes(s);
  else throw s.fail('kind', `is ${JSON.stringify(kind ?? null)}, but must be one of ${KINDS.join(', ')}`);
  if (kind === 'adapter_v2') await reader.readScales();
  s.checkUnused();
  reader.readSaved();
  tensors.checkLeftovers(`They are neither of a LitGPT ${kind} nor of layers that ${base.label} has.`);
  const { parts, vectors, prefixes } = reader;
  return { name: tensors.name, identity: tensors.identity, parts, vectors, prefixes, close: () => tensors.close() };
}

class LitgptReader {
  readonly parts = new Map<string, PartChange>();
  readonly vectors = new Map<string, RowSource>();
  readonly prefixes = new Map<number, PrefixChange>();
  readonly #tensors: AdapterTensors;
  readonly #base: BaseModel;

  constructor(tensors: AdapterTensors, base: BaseModel) {
    this.#tensors = tensors;
    this.#base = base;
  }

  /** y = W·x + (alpha / r) · B·A·x. In `attn.qkv` each enabled part has rows of A and of B to itself. */
  async readLora(s: Settings): Promise<void> {
    const r = s.count('lora_r');
    const factor = s.positive('lora_alpha', 1) / r;
    s.ignore('lora_dropout');
    const flag = (name: string) => s.bool(`lora_${name}`, false);
    const enabled = { q: flag('query'), k: flag('key'), v: flag('value') };
    const wanted = { proj: flag('projection'), mlp: flag('mlp'), head: flag('head') };
    for (const layer of this.#layers()) {
      if (layer.name.endsWith('.attn.qkv')) await this.#readQkv(layer, r, factor, enabled);
      else if (isWanted(layer.name, wanted)) await this.#readLowRank(layer, layer.parts, r, factor);
    }
  }

  async #readQkv(layer: Layer, r: number, factor: number, enabled: Record<string, boolean>): Promise<void> {
    const parts = layer.parts.filter(({ name }) => enabled[name.slice(-1)]);
    if (parts.length > 0) await this.#readLowRank(layer, parts, r, factor);
  }

  async #readLowRank(layer: Layer, parts: readonly BasePart[], r: number, factor: number): Promise<void> {
    const a = await this.#matrix(layer, 'lora_A', r * parts.length, layer.in);
    const out = parts.reduce((sum, part) => sum + part.rows, 0);
    const b = await this.#matrix(layer, 'lora_B', out, r);
    let start = 0;
    for (const [i, part] of parts.entries()) {
      const own = { rows: r, cols: layer.in, data: a.data.subarray(i * r * layer.in, (i + 1) * r * layer.in) };
      const rows = Array.from({ length: part.rows }, (_, row) => start + row);
      this.#change(part, { lowRank: { a: parts.length === 1 ? a : own, b: takeRows(b, rows, factor) } });
      start += part.rows;
    }
  }

  async readPrefixes(s: Settings): Promise<void> {
    const length = s.count('adapter_prompt_length', 10);
    const first = s.get('adapter_start_layer') ?? 2;
    if (!Number.isSafeInteger(first) || (first as number) < 0)
      throw s.fail('adapter_start_layer', 'must be a whole number of at least 0');
    const { nLayer, layers, nEmbd } = this.#base.config;
    for (let l = first as number; l < nLayer; l++) {
      const name = `transformer.h.${l}.attn`;
      const attention = attentionWithin(layers[l].mixer);
      if (!attention || !this.#base.parts.has(`h.${l}.attn.k`))
        throw this.#tensors.fail(`layer ${l} of ${this.#base.label} has no attention that could take a prefix`);
      const embeddings = await this.#tensors.matrix(`${name}.adapter_wte.weight`);
      if (embeddings.rows !== length || embeddings.cols !== nEmbd)
        throw this.#tensors.fail(
          `${name}.adapter_wte.weight has shape [${[embeddings.rows, embeddings.cols]}], but ${length} positions of ` +
            `${this.#base.label} are [${[length, nEmbd]}]`,
        );
      const gates = await this.#tensors.vector(`${name}.gating_factor`, attention.heads, 'the number of heads');
      this.prefixes.set(l, { embeddings, gates });
    }
  }

  /** y = scale ⊙ (W·x + b + bias), in every linear layer. */
  async readScales(): Promise<void> {
    for (const layer of this.#layers()) {
      if (layer.name.includes('.experts.'))
        throw this.#tensors.fail(`adapter_v2 of a mixture of experts (${layer.name}) is not supported`);
      const name = `${litgptName(layer.name)}.adapter`;
      const scale = await this.#tensors.vector(`${name}_scale`, layer.out, layer.name);
      const shift = await this.#tensors.vector(`${name}_bias`, layer.out, layer.name);
      let start = 0;
      for (const part of layer.parts) {
        const end = start + part.rows;
        this.#change(part, { scale: scale.subarray(start, end), shift: shift.subarray(start, end) });
        start = end;
      }
    }
  }

  /** Weights of the base that the file holds as well: those that were trained (adapter v2's norms), or all of them. */
  readSaved(): void {
    const vectors = this.#base.vectors;
    for (const key of this.#tensors.names) {
      const name = key.replace(/^transformer\./, '').replace(/\.linear\.(weight|bias)$/, '.$1');
      const [, owner, suffix] = /^(.*)\.(\w+)$/.exec(name) ?? [];
      const layer = this.#layer(owner ?? '');
      const piece = vectors.get(name);
      if (layer && suffix === 'weight') this.#replace(layer, key, layer.in, 'weight');
      else if (layer && suffix === 'bias' && layer.parts.every((part) => this.#base.bias(part.name)))
        this.#replace(layer, key, 1, 'bias');
      else if (piece) {
        const rows = this.#rows(this.#tensors.take(key), piece.rows, piece.cols);
        this.vectors.set(name, piece.unitOffset ? mapRows(rows, (w) => w + 1) : rows);
      }
    }
  }

  #replace(layer: Layer, key: string, cols: number, what: 'weight' | 'bias'): void {
    const whole = this.#rows(this.#tensors.take(key), layer.out, cols);
    let start = 0;
    for (const part of layer.parts) {
      this.#change(part, { [what]: sliceRows(whole, start, part.rows) });
      start += part.rows;
    }
  }

  #rows(tensor: StoredTensor, rows: number, cols: number): RowSource {
    const wanted = cols === 1 ? [rows] : [rows, cols];
    if (`${tensor.shape}` !== `${wanted}`)
      throw this.#tensors.fail(
        `${tensor.name} has shape [${tensor.shape}], but in ${this.#base.label} it is [${wanted}]`,
      );
    return tensorRows(tensor, rows, cols);
  }

  async #matrix(layer: Layer, what: string, rows: number, cols: number): Promise<Matrix> {
    const name = `${litgptName(layer.name)}.${what}`;
    const matrix = await this.#tensors.matrix(name);
    if (matrix.rows !== rows || matrix.cols !== cols)
      throw this.#tensors.fail(
        `${name} has shape [${[matrix.rows, matrix.cols]}], but with these settings and ${layer.name} of ` +
          `[${[layer.out, layer.in]}] in ${this.#base.label} it is [${[rows, cols]}]`,
      );
    return matrix;
  }

  /** All linear layers, under LitGPT's names: queries, keys and values are one layer, gate and up are two. */
  #layers(): Layer[] {
    const found = new Map<string, BasePart[]>();
    for (const part of this.#base.parts.values()) {
      if (part.embedding) continue;
      const name = part.hook.endsWith('.attn.qkv') ? part.hook : part.name;
      found.set(name, [...(found.get(name) ?? []), part]);
    }
    return [...found].map(([name, parts]) => layerOf(name, parts));
  }

  #layer(name: string): Layer | undefined {
    const parts = [...this.#base.parts.values()].filter((part) => part.name === name || part.hook === name);
    const exact = parts.filter((part) => part.name === name);
    const whole = name.endsWith('.attn.qkv') ? parts : exact;
    return whole.length > 0 ? layerOf(name, whole) : undefined;
  }

  #change(part: BasePart, change: PartChange): void {
    this.parts.set(part.name, { ...this.parts.get(part.name), ...change });
  }
}

function layerOf(name: string, parts: readonly BasePart[]): Layer {
  return { name, parts, in: parts[0].cols, out: parts.reduce((sum, part) => sum + part.rows, 0) };
}

const litgptName = (name: string): string => (name === 'lm_head' ? name : `transformer.${name}`);

function isWanted(name: string, wanted: { proj: boolean; mlp: boolean; head: boolean }): boolean {
  if (name === 'lm_head') return wanted.head;
  if (name.endsWith('.attn.proj')) return wanted.proj;
  return /^h\.\d+\.mlp\./.test(name) && wanted.mlp;
}
