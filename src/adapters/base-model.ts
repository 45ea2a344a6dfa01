/**
 * @file The model that adapters change, as they see it: its matrices and vectors, their names in checkpoints, what is
 * in them.
 */
import type { Checkpoint } from '../checkpoint/types.ts';
import type { Config } from '../config/config.ts';
import type { ParamResolver, TensorLocation } from '../weights/resolve.ts';
import { sliceRows } from '../weights/rows.ts';
import type { Param, ParamPart, RowSource } from '../weights/types.ts';

/** Rows of a matrix that have a name of their own. */
export interface BasePart {
  /** E.g. `h.0.attn.q`. */
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly embedding: boolean;
  /** The packed layer that it is multiplied in, e.g. `h.0.attn.qkv`, and its first row there. */
  readonly hook: string;
  readonly start: number;
}

/** A matrix of a checkpoint or of an adapter, and which parts of the model its rows are. */
export interface BaseModule {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  readonly embedding: boolean;
  readonly parts: readonly ModulePart[];
}

export interface ModulePart {
  readonly part: BasePart;
  /** The module's rows that are the part's, in the part's order. */
  rows(): Promise<ArrayLike<number>>;
}

/** What of a planned model adapters need. */
export interface BasePlan {
  readonly config: Config;
  readonly params: readonly Param[];
  readonly resolver: ParamResolver;
}

/** What is in a model's matrices and vectors: a base's, or a base's with adapters merged into it. */
export interface BaseRows {
  readonly config: Config;
  readonly parts: ReadonlyMap<string, BasePart>;
  /** Vectors and small matrices besides the biases of parts, by whole name: `h.0.norm_1.weight`. */
  readonly vectors: ReadonlyMap<string, ParamPart>;
  /** A part's rows. */
  weight(part: string): RowSource;
  /** A part's bias [rows, 1]; null where it has none. */
  bias(part: string): RowSource | null;
  /** Whether a packed layer adds its bias itself, so that it is in what an adapter behind the layer sees. */
  addsBias(hook: string): boolean;
  vector(name: string): RowSource;
}

const HEAD = 'lm_head';
const EMBEDDING = 'wte';

export class BaseModel implements BaseRows {
  readonly checkpoint: Checkpoint;
  readonly config: Config;
  readonly parts: ReadonlyMap<string, BasePart>;
  readonly vectors: ReadonlyMap<string, ParamPart>;
  readonly #resolver: ParamResolver;
  readonly #weights = new Map<string, ParamPart>();
  readonly #biases = new Map<string, ParamPart>();
  /** Packed layers that add their bias themselves. */
  readonly #biased: ReadonlySet<string>;
  #modules: ReadonlyMap<string, BaseModule> | null = null;

  constructor(checkpoint: Checkpoint, { config, params, resolver }: BasePlan) {
    this.checkpoint = checkpoint;
    this.config = config;
    this.#resolver = resolver;
    const parts = new Map<string, BasePart>();
    for (const param of params) {
      if (param.role === 'plain') continue;
      let start = 0;
      for (const piece of param.parts)
        for (const weight of piece.interleaved ?? [piece]) {
          const name = weight.name.replace(/\.weight$/, '');
          const hook = param.name.replace(/\.weight$/, '');
          parts.set(name, {
            name,
            rows: weight.rows,
            cols: weight.cols,
            embedding: param.role === 'embedding',
            hook,
            start,
          });
          this.#weights.set(name, weight);
          start += weight.rows;
        }
    }
    const embedding = parts.get(EMBEDDING);
    if (config.tieEmbeddings && embedding) {
      const rows = config.vocabSize;
      parts.set(HEAD, { ...embedding, name: HEAD, rows, embedding: false, hook: HEAD, start: 0 });
    }
    this.parts = parts;
    const vectors = new Map<string, ParamPart>();
    for (const param of params) {
      if (param.role !== 'plain') continue;
      for (const piece of param.parts) {
        const owner = piece.name.replace(/\.bias$/, '');
        if (owner !== piece.name && parts.has(owner)) this.#biases.set(owner, piece);
        else vectors.set(piece.name, piece);
      }
    }
    this.vectors = vectors;
    const names = new Set(params.map(({ name }) => name));
    this.#biased = new Set([...parts.values()].map(({ hook }) => hook).filter((hook) => names.has(`${hook}.bias`)));
  }

  /** The family's name, and the checkpoint's. */
  get label(): string {
    return `${this.checkpoint.name} (${this.config.name})`;
  }

  /** A part's rows. @param instead tensors in place of the checkpoint's, by the family's names. */
  weight(part: string, instead?: Parameters<ParamResolver['part']>[1]): RowSource {
    const own = this.#weights.get(part);
    if (own) return this.#resolver.part(own, instead);
    const head = this.#tensorOf(part);
    const saved = head && instead?.get(head);
    const { rows, cols } = this.parts.get(part)!;
    if (saved) return this.#resolver.part({ name: `${HEAD}.weight`, rows, cols }, instead);
    return sliceRows(this.#resolver.part(this.#weights.get(EMBEDDING)!), 0, rows);
  }

  /** A part's bias [rows, 1]; null where it has none. */
  bias(part: string, instead?: Parameters<ParamResolver['part']>[1]): RowSource | null {
    const own = this.#biases.get(part);
    return own ? this.#resolver.part(own, instead) : null;
  }

  addsBias(hook: string): boolean {
    return hook !== HEAD && this.#biased.has(hook);
  }

  vector(name: string, instead?: Parameters<ParamResolver['part']>[1]): RowSource {
    return this.#resolver.part(this.vectors.get(name)!, instead);
  }

  /** Where a checkpoint holds a part's weight or bias, or a vector; undefined where the family has none. */
  tensor(name: string): TensorLocation | undefined {
    const [, owner, suffix] = /^(.*)(\.\w+)$/.exec(name)!;
    const part = this.parts.get(owner);
    const piece =
      this.vectors.get(name) ??
      (part && { name, rows: part.rows, cols: suffix === '.weight' ? part.cols : 1, ...this.#piece(owner, suffix) });
    return piece && this.#locationOf(piece);
  }

  /** The matrices by the names that their modules have in the family's checkpoints. */
  get modules(): ReadonlyMap<string, BaseModule> {
    this.#modules ??= this.#findModules();
    return this.#modules;
  }

  #piece(part: string, suffix: string): ParamPart | undefined {
    return suffix === '.weight' ? this.#weights.get(part) : this.#biases.get(part);
  }

  #tensorOf(part: string): string | undefined {
    return this.tensor(`${part}.weight`)?.name;
  }

  #locationOf(piece: ParamPart): TensorLocation | undefined {
    try {
      return this.#resolver.locate(piece);
    } catch {
      return undefined; // the family's checkpoints have no such tensor
    }
  }

  #findModules(): Map<string, BaseModule> {
    const found = new Map<string, { in: number; out: number; embedding: boolean; parts: ModulePart[] }>();
    for (const part of this.parts.values()) {
      const location = this.tensor(`${part.name}.weight`);
      // Experts that lie in one tensor are no modules of their own.
      if (!location?.name.endsWith('.weight') || (location.stored && location.stored.shape.length !== 2)) continue;
      const name = location.name.replace(/\.weight$/, '');
      const module = found.get(name) ?? { in: part.cols, out: 0, embedding: part.embedding, parts: [] };
      module.parts.push({ part, rows: () => location.rows() });
      module.out += part.rows;
      found.set(name, module);
    }
    return new Map([...found].map(([name, module]) => [name, { name, ...module }]));
  }
}
