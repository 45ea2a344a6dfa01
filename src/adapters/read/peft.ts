/**
 * @file LoRA and DoRA as PEFT saves them: adapter_model.safetensors, whose tensors are named after the modules of the
 * base.
 */
import type { StoredTensor } from '../../checkpoint/types.ts';
import type { RowSource } from '../../weights/types.ts';
import type { BaseModel, BaseModule, ModulePart } from '../base-model.ts';
import type { Adapter, Matrix, PartChange } from '../types.ts';
import type { AdapterTensors } from './adapter-files.ts';
import { type PeftConfig, readPeftConfig } from './peft-config.ts';

export const PEFT_CONFIG = 'adapter_config.json';
export const PEFT_TENSORS = 'adapter_model.safetensors';

/** A name in the file: module, what of it, and which tensor it is. */
const LORA =
  /^(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.default)?(?:\.(weight|bias))?$/;
const SAVED = /^(.+?)(\.base_layer)?(?:\.modules_to_save(?:\.default)?)?\.(weight|bias)$/;
/** What PEFT puts before the base's names. */
const PREFIX = /^base_model\.model\./;

/** @throws AdapterError for settings or tensors that do not fit the base, or are not supported. */
export async function readPeft(tensors: AdapterTensors, settings: string, base: BaseModel): Promise<Adapter> {
  const config = readPeftConfig(settings, `${tensors.name}: ${PEFT_CONFIG}`);
  const reader = new PeftReader(tensors, config, base);
  await reader.readLora();
  reader.readSaved();
  reader.checkTargets();
  tensors.checkLeftovers(`They are neither of LoRA nor of modules that ${base.label} has.`);
  return {
    name: tensors.name,
    identity: tensors.identity,
    parts: reader.parts,
    vectors: reader.vectors,
    prefixes: new Map(),
    close: () => tensors.close(),
  };
}

class PeftReader {
  readonly parts = new Map<string, PartChange>();
  readonly vectors = new Map<string, RowSource>();
  readonly #tensors: AdapterTensors;
  readonly #config: PeftConfig;
  readonly #base: BaseModel;
  readonly #adapted = new Set<string>();

  constructor(tensors: AdapterTensors, config: PeftConfig, base: BaseModel) {
    this.#tensors = tensors;
    this.#config = config;
    this.#base = base;
  }

  async readLora(): Promise<void> {
    const found = new Map<string, Map<string, string>>();
    for (const key of this.#tensors.names) {
      const match = LORA.exec(key.replace(PREFIX, ''));
      if (!match) continue;
      const kinds = found.get(match[1]) ?? new Map<string, string>();
      kinds.set(match[3] === 'bias' ? `${match[2]}.bias` : match[2], key);
      found.set(match[1], kinds);
    }
    for (const [name, kinds] of found) await this.#readModule(name, kinds);
  }

  async #readModule(name: string, keys: ReadonlyMap<string, string>): Promise<void> {
    const { dora, scaling, rank } = this.#config;
    const module = this.#module(name);
    this.#adapted.add(module.name);
    const key = (kind: string): string => {
      const there = keys.get(kind);
      if (!there) throw this.#tensors.fail(`the tensor ${name}.${kind} is missing`);
      return there;
    };
    const [a, b] = module.embedding ? ['lora_embedding_B', 'lora_embedding_A'] : ['lora_A', 'lora_B'];
    // An embedding's factors are those of its transpose.
    const first = await this.#tensors.matrix(key(a));
    const second = await this.#tensors.matrix(key(b));
    const low = module.embedding ? { a: transposed(first), b: transposed(second) } : { a: first, b: second };
    const r = low.a.rows;
    if (low.a.cols !== module.in || low.b.rows !== module.out || low.b.cols !== r)
      throw this.#tensors.fail(
        `${key(a)} has shape [${[first.rows, first.cols]}] and ${key(b)} [${[second.rows, second.cols]}], but in ` +
          `${this.#base.label} ${name} is [${[module.out, module.in]}]`,
      );
    if (r !== rank(name)) throw this.#tensors.fail(`${key(a)} has rank ${r}, but ${PEFT_CONFIG} says ${rank(name)}`);
    const scale = scaling(name);
    const vector = (kind: string) => this.#tensors.vector(key(kind), module.embedding ? module.in : module.out, name);
    const magnitude = dora ? await vector('lora_magnitude_vector') : undefined;
    const bias = keys.has('lora_B.bias') ? (await vector('lora_B.bias')).map((x) => x * scale) : undefined;
    for (const part of this.#partsOf(module)) {
      const rows = await part.rows();
      this.#change(part.part.name, {
        lowRank: { a: low.a, b: takeRows(low.b, rows, scale) },
        magnitude: magnitude && (module.embedding ? magnitude : take(magnitude, rows)),
        shift: bias && take(bias, rows),
      });
    }
  }

  /** Modules and biases that the adapter holds whole. */
  readSaved(): void {
    const keys = this.#tensors.names.map((key) => `.${key.replace(PREFIX, '')}`);
    for (const name of this.#config.modulesToSave)
      if (!keys.some((key) => key.includes(`.${name}.`)))
        throw this.#tensors.fail(`${PEFT_CONFIG} says that the module ${name} was saved, but its tensors are missing`);
    const saved = new Map<string, StoredTensor>();
    const shared: StoredTensor[] = [];
    for (const key of this.#tensors.names) {
      const bare = key.replace(PREFIX, '');
      const match = LORA.test(bare) ? null : SAVED.exec(bare);
      const name = match && this.#tensorName(`${match[1]}.${match[3]}`);
      if (!name) continue;
      const tensor = this.#tensors.take(key);
      saved.set(name, tensor);
      // The matrix below an adapted embedding is the one that a tied head shares.
      if ((match[2] || this.#config.tied) && this.#tied('wte', name)) shared.push(tensor);
    }
    const head = this.#base.tensor('lm_head.weight')?.name;
    const [embedding] = shared;
    if (embedding && head && !saved.has(head)) saved.set(head, embedding);
    if (saved.size > 0) this.#replace(saved);
  }

  #replace(saved: ReadonlyMap<string, StoredTensor>): void {
    const base = this.#base;
    const shape = (name: string) => {
      const location = base.tensor(name);
      const tensor = location && saved.get(location.name);
      if (!tensor) return false;
      const own = location.stored?.shape;
      if (own && `${own}` !== `${tensor.shape}`)
        throw this.#tensors.fail(
          `${tensor.name} has shape [${tensor.shape}], but in ${base.label} ${location.name} has [${own}]`,
        );
      return true;
    };
    for (const { name } of base.parts.values()) {
      if (shape(`${name}.weight`)) this.#change(name, { weight: base.weight(name, saved) });
      const bias = base.bias(name) && shape(`${name}.bias`) ? base.bias(name, saved) : null;
      if (bias) this.#change(name, { bias });
    }
    for (const name of base.vectors.keys()) if (shape(name)) this.vectors.set(name, base.vector(name, saved));
  }

  /** @throws AdapterError for a target that the adapter holds nothing for. */
  checkTargets(): void {
    for (const module of this.#base.modules.values()) {
      if (this.#adapted.has(module.name)) continue;
      const { name } = module.parts[0].part;
      if (name.includes('.experts.')) continue; // which library version made modules of experts is not known
      const layer = /^.*?\.[^.]*\.(\d+)\./.exec(module.name);
      const isHead = name === 'lm_head';
      const target = { name: module.name, layer: layer && Number(layer[1]), isHead, embedding: module.embedding };
      if (this.#config.isTarget(target))
        throw this.#tensors.fail(`${PEFT_CONFIG} makes ${module.name} a target, but its tensors are missing`);
    }
  }

  #module(name: string): BaseModule {
    const { modules } = this.#base;
    const exact = modules.get(name);
    if (exact) return exact;
    // A base without its head, or inside of a larger model, has a prefix less or more.
    const near = [...modules.values()].filter((m) => m.name.endsWith(`.${name}`) || name.endsWith(`.${m.name}`));
    if (near.length === 1) return near[0];
    const { base } = this.#config;
    throw this.#tensors.fail(
      `it changes the module ${name}, which ${this.#base.label} does not have` +
        (base ? `; it was made for ${base}` : ''),
    );
  }

  #tensorName(name: string): string | undefined {
    const names = this.#tensorNames();
    if (names.has(name)) return name;
    const near = [...names].filter((known) => known.endsWith(`.${name}`) || name.endsWith(`.${known}`));
    return near.length === 1 ? near[0] : undefined;
  }

  #names: Set<string> | null = null;
  #tensorNames(): Set<string> {
    const base = this.#base;
    const own = [
      ...[...base.parts.keys()].flatMap((part) => [`${part}.weight`, ...(base.bias(part) ? [`${part}.bias`] : [])]),
      ...base.vectors.keys(),
    ];
    this.#names ??= new Set(own.flatMap((name) => base.tensor(name)?.name ?? []));
    return this.#names;
  }

  /** A module's parts; those of an embedding whose head stays tied to it are both. */
  #partsOf(module: BaseModule): readonly ModulePart[] {
    const head = this.#base.parts.get('lm_head')!;
    const name = module.parts[0].part.name;
    if (!this.#config.tied || !this.#base.config.tieEmbeddings || (name !== 'wte' && name !== 'lm_head'))
      return module.parts;
    const other = name === 'wte' ? head : this.#base.parts.get('wte')!;
    if (this.#config.dora) throw this.#tensors.fail('DoRA of an embedding with a tied head is not supported');
    return [...module.parts, { part: other, rows: module.parts[0].rows }];
  }

  #tied(part: string, tensor: string): boolean {
    return this.#base.config.tieEmbeddings && this.#base.tensor(`${part}.weight`)?.name === tensor;
  }

  #change(part: string, change: PartChange): void {
    this.parts.set(part, { ...this.parts.get(part), ...change });
  }
}

function take(values: Float32Array, rows: ArrayLike<number>): Float32Array {
  return Float32Array.from(rows, (row) => values[row]);
}

/** Rows of a matrix, times a factor. */
export function takeRows({ cols, data }: Matrix, rows: ArrayLike<number>, factor: number): Matrix {
  const out = new Float32Array(rows.length * cols);
  for (let i = 0; i < rows.length; i++)
    for (let j = 0; j < cols; j++) out[i * cols + j] = data[rows[i] * cols + j] * factor;
  return { rows: rows.length, cols, data: out };
}

function transposed({ rows, cols, data }: Matrix): Matrix {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j];
  return { rows: cols, cols: rows, data: out };
}
