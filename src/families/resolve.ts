/**
 * @file Finds a model's parameters in a checkpoint, by the family's tensor map; names what is missing and what is left over.
 */
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts';
import type { Config } from '../config/config.ts';
import { CheckpointError } from '../errors.ts';
import type { Param, ParamPart } from '../model/context.ts';
import { concatRows, mapRows, pickRows, sliceRows, tensorRows, transpose } from '../weights/rows.ts';
import type { RowSource } from '../weights/types.ts';
import type { Family, QkvOrder, TensorExpr } from './family.ts';

/** Buffers that old checkpoints carry and nobody needs. */
const IGNORED = [
  /rotary_emb\.inv_freq$/,
  /\.inv_freq$/,
  /\.attn\.(bias|masked_bias)$/,
  /\.attention\.(bias|masked_bias)$/,
];
/** Names that old files use. */
const OLD_SUFFIXES: Readonly<Record<string, string>> = { '.weight': '.gamma', '.bias': '.beta' };

export class ParamResolver {
  readonly #checkpoint: Checkpoint;
  readonly #family: Family;
  readonly #config: Config;
  readonly #used = new Set<string>();

  constructor(checkpoint: Checkpoint, family: Family, config: Config) {
    this.#checkpoint = checkpoint;
    this.#family = family;
    this.#config = config;
  }

  /** Whether the checkpoint holds the module, e.g. `lm_head`. */
  has(module: string): boolean {
    const expr = this.#family.tensors[module];
    return typeof expr === 'string' && this.#find(`${expr}.weight`) !== undefined;
  }

  /**
   * The parameter's rows. Nothing is read yet.
   * @throws CheckpointError names a tensor that is missing, or both shapes where they disagree.
   */
  source(param: Param): RowSource {
    return concatRows(param.parts.map((part) => this.#part(part)));
  }

  /**
   * To be called when all parameters were asked for.
   * @throws CheckpointError names the tensors that nothing uses: the checkpoint is of another architecture than it says.
   */
  checkLeftovers(): void {
    const ignored = [...IGNORED, ...(this.#family.ignore ?? [])];
    if (this.#config.tieEmbeddings) ignored.push(/(^|\.)(lm_head|embed_out)\.weight$/);
    const left = [...this.#checkpoint.tensors.keys()].filter(
      (name) => !this.#used.has(name) && !ignored.some((pattern) => pattern.test(name)),
    );
    if (left.length > 0)
      throw new CheckpointError(
        `${this.#checkpoint.name}: ${left.length} tensors have no place in a ${this.#config.name} model with this ` +
          `config.json: ${list(left)}. ${this.#expected()}`,
      );
  }

  #part(part: ParamPart): RowSource {
    const dot = part.name.lastIndexOf('.');
    const suffix = part.name.slice(dot);
    const layer = /^h\.(\d+)\./.exec(part.name)?.[1];
    const key = part.name.slice(0, dot).replace(/^h\.\d+\./, 'h.{l}.');
    const expr = this.#family.tensors[key];
    if (expr === undefined)
      throw new CheckpointError(`the family ${this.#config.name} does not say where its checkpoints hold ${part.name}`);
    const rows = this.#expr(expr, suffix, layer, part.rows, part.cols);
    return part.unitOffset ? mapRows(rows, (w) => w + 1) : rows;
  }

  #expr(expr: TensorExpr, suffix: string, layer: string | undefined, rows: number, cols: number): RowSource {
    if (typeof expr === 'string') return tensorRows(this.#tensor(expr, suffix, layer), rows, cols);
    if ('transposed' in expr) {
      if (suffix !== '.weight') return this.#expr(expr.transposed, suffix, layer, rows, cols);
      return transpose(this.#expr(expr.transposed, suffix, layer, cols, rows));
    }
    if ('parts' in expr) {
      const whole = this.#expr(expr.from, suffix, layer, rows * expr.parts, cols);
      return sliceRows(whole, expr.part * rows, rows);
    }
    const { nHead: H, nQueryGroups: G, headSize: D } = this.#config;
    const whole = this.#expr(expr.from, suffix, layer, (H + 2 * G) * D, cols);
    return QKV_ROWS[expr.order](whole, expr.take, H, G, D);
  }

  #tensor(template: string, suffix: string, layer: string | undefined): StoredTensor {
    const name = template.replace('{l}', layer ?? '') + suffix;
    const tensor = this.#find(name);
    if (!tensor)
      throw new CheckpointError(`${this.#checkpoint.name}: the tensor ${name} is missing. ${this.#expected()}`);
    this.#used.add(tensor.name);
    return tensor;
  }

  /** Also under another suffix, with one of the family's prefixes, or without it. */
  #find(name: string): StoredTensor | undefined {
    const { tensors } = this.#checkpoint;
    const suffix = name.slice(name.lastIndexOf('.'));
    const spellings = [name, name.slice(0, -suffix.length) + (OLD_SUFFIXES[suffix] ?? suffix)];
    for (const spelling of spellings) {
      const found = tensors.get(spelling);
      if (found) return found;
      for (const prefix of this.#family.prefixes ?? []) {
        const other = spelling.startsWith(prefix) ? spelling.slice(prefix.length) : prefix + spelling;
        const moved = tensors.get(other);
        if (moved) return moved;
      }
    }
    return undefined;
  }

  #expected(): string {
    const modules = Object.values(this.#family.tensors).map((expr) => sourceName(expr));
    return `The family ${this.#config.name} has ${[...new Set(modules)].join(', ')}.`;
  }
}

function sourceName(expr: TensorExpr): string {
  if (typeof expr === 'string') return expr;
  return sourceName('transposed' in expr ? expr.transposed : expr.from);
}

type TakeRows = (whole: RowSource, take: 'q' | 'k' | 'v', H: number, G: number, D: number) => RowSource;

const QKV_ROWS: Readonly<Record<QkvOrder, TakeRows>> = {
  stacked: (whole, take, H, G, D) => {
    const start = { q: 0, k: H, v: H + G }[take];
    return sliceRows(whole, start * D, (take === 'q' ? H : G) * D);
  },
  grouped: (whole, take, H, G, D) => {
    const R = H / G;
    const heads = take === 'q' ? R : 1;
    const first = { q: 0, k: R, v: R + 1 }[take];
    return pickRows(
      whole,
      (row) => {
        const group = Math.floor(row / (heads * D));
        return (group * (R + 2) + first) * D + (row % (heads * D));
      },
      G * heads * D,
    );
  },
};

function list(names: readonly string[]): string {
  return names.length > 6 ? `${names.slice(0, 6).join(', ')} and ${names.length - 6} more` : names.join(', ');
}
