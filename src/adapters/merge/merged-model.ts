/**
 * @file A base with adapters merged into it: its config and the rows of its parameters, made as they are read. What
 * can't be a weight (prefixes) is left to be live.
 */
import { type Config, withLayers } from '../../config/config.ts';
import { keepsSlots } from '../../config/layer-spec.ts';
import { AdapterError } from '../../util/errors.ts';
import { sha256 } from '../../util/sha256.ts';
import { concatRows, interleaveRows } from '../../weights/rows.ts';
import type { Param, ParamPart, RowSource } from '../../weights/types.ts';
import type { BaseModel, BasePart, BaseRows } from '../base-model.ts';
import type { PartChange, WeightedAdapter } from '../types.ts';
import { changedBias, changedRows, changedVector, changesBias, changesWeight } from './change-rows.ts';

export class MergedModel implements BaseRows {
  /** The base's, with the biases and the head that the adapters make necessary. */
  readonly config: Config;
  readonly #base: BaseModel;
  readonly #adapters: readonly WeightedAdapter[];

  /** @throws AdapterError for changes that a model of this kind can't hold. */
  constructor(base: BaseModel, adapters: readonly WeightedAdapter[]) {
    this.#base = base;
    this.#adapters = adapters.filter(({ weight }) => weight !== 0);
    this.config = this.#changedConfig();
  }

  /** Says which base and which adapters these are. */
  get identity(): string {
    const adapters = this.#adapters.map(({ adapter, weight }) => [adapter.identity, weight]);
    return sha256(JSON.stringify([this.#base.checkpoint.identity, adapters]));
  }

  get parts(): ReadonlyMap<string, BasePart> {
    return this.#base.parts;
  }

  get vectors(): ReadonlyMap<string, ParamPart> {
    return this.#base.vectors;
  }

  addsBias(hook: string): boolean {
    return hook !== 'lm_head' && [...this.parts.values()].some((part) => part.hook === hook && this.bias(part.name));
  }

  /** A parameter's rows. */
  source(param: Param): RowSource {
    return concatRows(param.parts.map((part) => this.#piece(part)));
  }

  /** Rows of a part of a matrix, e.g. `h.0.attn.q`. */
  weight(part: string): RowSource {
    const { embedding } = this.#base.parts.get(part)!;
    return changedRows(this.#base.weight(part), this.#changes(part), embedding);
  }

  /** A part's bias; null where it has none. */
  bias(part: string): RowSource | null {
    return changedBias(this.#base.bias(part), this.#base.parts.get(part)!.rows, this.#changes(part));
  }

  vector(name: string): RowSource {
    const others = this.#adapters.flatMap(({ adapter, weight }) => {
      const rows = adapter.vectors.get(name);
      return rows ? [{ rows, weight }] : [];
    });
    return changedVector(this.#base.vector(name), others);
  }

  /** Whether anything is changed: a part's weight or bias, or a vector, by whole name. */
  changes(name: string): boolean {
    const [, owner, suffix] = /^(.*)(\.\w+)$/.exec(name)!;
    const part = this.#base.parts.has(owner);
    if (!part || !['.weight', '.bias'].includes(suffix))
      return this.#adapters.some(({ adapter }) => adapter.vectors.has(name));
    const test =
      suffix === '.weight' ? changesWeight : (c: PartChange) => changesBias(c, this.#base.bias(owner) !== null);
    return this.#changes(owner).some(({ change }) => test(change));
  }

  #piece(piece: ParamPart): RowSource {
    if (piece.interleaved) return interleaveRows(piece.interleaved.map((inner) => this.#piece(inner)));
    const [, owner, suffix] = /^(.*)(\.\w+)$/.exec(piece.name)!;
    const part = this.#base.parts.get(owner);
    if (!part || this.#base.vectors.has(piece.name)) return this.vector(piece.name);
    return suffix === '.weight' ? this.weight(owner) : (this.bias(owner) ?? zeros(part.rows));
  }

  #changes(part: string) {
    return this.#adapters.flatMap(({ adapter, weight }) => {
      const change = adapter.parts.get(part);
      return change ? [{ change, weight }] : [];
    });
  }

  #changedConfig(): Config {
    let { config } = this.#base;
    const changed = (name: string) => this.changes(name);
    if (config.tieEmbeddings && (changed('wte.weight') || changed('lm_head.weight')))
      config = { ...config, tieEmbeddings: false };
    for (const part of this.#base.parts.keys())
      if (changed(`${part}.bias`) && !this.#base.bias(part)) config = withBias(config, part, this.#adapters);
    return config;
  }
}

/** The config of a model whose part has a bias. */
function withBias(config: Config, part: string, adapters: readonly WeightedAdapter[]): Config {
  const [, layer, module] = /^(?:h\.(\d+)\.)?(.*)$/.exec(part)!;
  const attends = (own: { qkv?: boolean; proj?: boolean }, on: (l: number) => boolean) =>
    withLayers(config, ({ mixer, ...rest }, l) =>
      on(l) && keepsSlots(mixer)
        ? { ...rest, mixer: { ...mixer, bias: { ...mixer.bias, ...own } } }
        : { ...rest, mixer },
    );
  if (/^attn\.[qkv]$/.test(module)) return attends({ qkv: true }, () => true);
  if (module === 'attn.proj') return attends({ proj: true }, (l) => l === Number(layer));
  if (module === 'lm_head') return { ...config, lmHeadBias: true };
  if (module.startsWith('mlp.') && !config.layers.some(({ mlp }) => mlp?.kind === 'moe'))
    return withLayers(config, ({ mlp, ...rest }) => ({
      ...rest,
      mlp: !mlp || mlp.kind === 'moe' ? mlp : { ...mlp, bias: true },
    }));
  const names = adapters.map(({ adapter }) => adapter.name).join(', ');
  throw new AdapterError(`${names}: a bias is added to ${part}, where a model of this kind has none`);
}

function zeros(rows: number): RowSource {
  return { rows, cols: 1, read: async (_, count) => new Float32Array(count) };
}
