/**
 * @file Finds a model's parameters in a checkpoint, by the family's tensor map; names what is missing and what is left
 * over.
 */
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts';
import type { Config } from '../config/config.ts';
import type { LayerSpec } from '../config/layer-spec.ts';
import { CheckpointError } from '../util/errors.ts';
import { segmentRows, sinusoids, takeSegment } from './arrange.ts';
import { concatRows, interleaveRows, mapRows, pickRows, sliceRows, tensorRows, transpose } from './rows.ts';
import type { TensorExpr, TensorNames } from './tensor-map.ts';
import type { Param, ParamPart, RowSource } from './types.ts';

/** Buffers that old checkpoints carry and no model needs. */
const IGNORED = [/(^|\.)inv_freq$/, /\.(attn|attention)\.(bias|masked_bias)$/];
/** Names that old files use. */
const OLD_SUFFIXES: Readonly<Record<string, string>> = { '.weight': '.gamma', '.bias': '.beta' };

/** Which tensor of a template is meant. */
interface NameContext {
  /** `.weight` or `.bias`. */
  readonly suffix: string;
  readonly layer: string;
  /** null: the tensor is of no layer. */
  readonly spec: LayerSpec | null;
  /** Expert or head. */
  readonly nth: string;
}

/** Makes the rows of a tensor, given its template, of a shape. */
type Leaf = (template: string, context: NameContext, rows: number, cols: number) => RowSource;

/** Where a piece of a parameter comes from. */
export interface TensorLocation {
  /** The family's name of the tensor. */
  readonly name: string;
  /** It is stored as [in, out]. */
  readonly transposed: boolean;
  /** The tensor, which may have a prefix more or less than its name; undefined where the checkpoint lacks it. */
  readonly stored: StoredTensor | undefined;
  /** For each row, which of the tensor's outputs it is. Those of several experts in one tensor are counted on. */
  rows(): Promise<Float32Array>;
}

const filled = (template: string, { layer, nth }: NameContext): string =>
  template.replace('{l}', layer).replace('{e}', nth);

export class ParamResolver {
  readonly #checkpoint: Checkpoint;
  readonly #family: TensorNames;
  readonly #config: Config;
  readonly #used = new Set<string>();

  constructor(checkpoint: Checkpoint, family: TensorNames, config: Config) {
    this.#checkpoint = checkpoint;
    this.#family = family;
    this.#config = config;
  }

  /** Whether the checkpoint holds the module, e.g. `lm_head`. */
  has(module: string): boolean {
    const expr = this.#family.tensors[module];
    return expr !== undefined && this.#find(`${sourceName(expr)}.weight`) !== undefined;
  }

  /**
   * The parameter's rows. Nothing is read yet.
   * @throws CheckpointError names a tensor that is missing, or both shapes where they disagree.
   */
  source(param: Param): RowSource {
    return concatRows(param.parts.map((part) => this.part(part)));
  }

  /**
   * The rows of one piece of a parameter; see {@link source}.
   * @param instead tensors in place of the checkpoint's, by the family's names for them.
   */
  part(part: ParamPart, instead?: ReadonlyMap<string, StoredTensor>): RowSource {
    if (part.interleaved) return interleaveRows(part.interleaved.map((inner) => this.part(inner, instead)));
    const rows = this.#rowsOf(part, (template, context, r, c) =>
      this.#rows(instead?.get(filled(template, context)) ?? this.#tensor(template, context), r, c),
    );
    return part.unitOffset ? mapRows(rows, (w) => w + 1) : rows;
  }

  /**
   * Where a piece without pieces of its own comes from.
   * @throws CheckpointError where the family does not have it.
   */
  locate(part: ParamPart): TensorLocation {
    let name = '';
    let transposed = false;
    const numbered = this.#rowsOf({ ...part, cols: 1 }, (template, context, rows, cols) => {
      name = filled(template, context);
      transposed = cols !== 1;
      const number = (start: number) => (_: number, i: number) => start * cols + i;
      return { rows, cols, read: async (start, n) => new Float32Array(n * cols).map(number(start)) };
    });
    return { name, transposed, stored: this.#find(name), rows: () => numbered.read(0, part.rows) };
  }

  /**
   * To be called when all parameters were asked for.
   * @throws CheckpointError names the tensors that nothing uses: the checkpoint is of another architecture than it
   * says.
   */
  checkLeftovers(): void {
    const ignored = [...IGNORED, ...(this.#family.ignore ?? [])];
    if (this.#config.tieEmbeddings) ignored.push(/(^|\.)(lm_head|embed_out)\.weight$/);
    const left = [...this.#checkpoint.tensors.keys()].filter(
      (name) =>
        !this.#used.has(name) &&
        !this.#checkpoint.tensors.get(name)?.isNeutral &&
        !ignored.some((rule) => (typeof rule === 'function' ? rule(name, this.#config) : rule.test(name))),
    );
    if (left.length > 0)
      throw new CheckpointError(
        `${this.#checkpoint.name}: ${left.length} tensors do not belong in a ${this.#config.name} model with this ` +
          `config.json: ${list(left)}. ${this.#expected()}`,
      );
  }

  #rowsOf(part: ParamPart, leaf: Leaf): RowSource {
    const [, layer, module, suffix] = /^(?:h\.(\d+)\.)?(.*)(\.\w+)$/.exec(part.name)!;
    const nth = /\.(\d+)(?=\.|$)/.exec(module);
    const key = (layer ? 'h.{l}.' : '') + (nth ? module.replace(nth[0], '.{e}') : module);
    const expr = this.#family.tensors[key + suffix] ?? this.#family.tensors[key];
    if (expr === undefined)
      throw new CheckpointError(`the family ${this.#config.name} does not say where its checkpoints hold ${part.name}`);
    const spec = layer ? this.#config.layers[Number(layer)] : null;
    return this.#expr(
      expr,
      { suffix, layer: String(spec?.checkpointIndex ?? ''), spec, nth: nth?.[1] ?? '' },
      part.rows,
      part.cols,
      leaf,
    );
  }

  #expr(expr: TensorExpr, context: NameContext, rows: number, cols: number, leaf: Leaf): RowSource {
    if (typeof expr === 'string') return leaf(expr + context.suffix, context, rows, cols);
    if ('bare' in expr) return leaf(expr.bare, context, rows, cols);
    if ('oneOf' in expr) {
      const there = expr.oneOf.find((each) => this.#find(nameIn(each, context)));
      if (there !== undefined) return this.#expr(there, context, rows, cols, leaf);
      throw this.#missing(expr.oneOf.map((each) => nameIn(each, context)).join(' or '));
    }
    if ('sinusoids' in expr) return sinusoids(rows, cols);
    if ('extended' in expr) {
      const stored = this.#find(filled(expr.extended + context.suffix, context))?.shape[0] ?? rows;
      const own = this.#expr(expr.extended, context, Math.min(stored, rows), cols, leaf);
      return stored < rows ? pickRows(own, (row) => (row < stored ? row : 0), rows) : own;
    }
    if ('stacked' in expr) return this.#stacked(expr.stacked, context, rows, cols);
    if ('transposed' in expr) {
      if (context.suffix !== '.weight') return this.#expr(expr.transposed, context, rows, cols, leaf);
      return transpose(this.#expr(expr.transposed, context, cols, rows, leaf));
    }
    if ('eitherWay' in expr) {
      const inner = expr.eitherWay;
      const isStraight = this.#find(nameIn(inner, context))?.shape.at(-2) === rows;
      return this.#expr(isStraight ? inner : { transposed: inner }, context, rows, cols, leaf);
    }
    if ('parts' in expr) {
      const whole = this.#expr(expr.from, context, rows * expr.parts, cols, leaf);
      return sliceRows(whole, expr.part * rows, rows);
    }
    const layer = context.spec!;
    if ('segment' in expr) {
      const segments = expr.of(layer);
      return takeSegment(this.#expr(expr.from, context, segmentRows(segments), cols, leaf), segments, expr.segment);
    }
    if ('joined' in expr) {
      const heights = expr.heights(layer);
      return concatRows(expr.joined.map((each, i) => this.#expr(each, context, heights[i], cols, leaf)));
    }
    const whole = this.#expr(expr.from, context, rows * countOf(layer, expr.nthOf), cols, leaf);
    return sliceRows(whole, Number(context.nth) * rows, rows);
  }

  #stacked(modules: readonly string[], context: NameContext, rows: number, cols: number): RowSource {
    const [first, ...more] = modules.map((module) => filled(module + context.suffix, context));
    const found = [
      this.#tensor(first, context),
      ...more.flatMap((name) => (this.#find(name) ? this.#tensor(name, context) : [])),
    ];
    const heights = found.slice(0, -1).map((tensor) => tensor.shape[0]);
    heights.push(rows - heights.reduce((sum, height) => sum + height, 0));
    return concatRows(found.map((tensor, i) => this.#rows(tensor, heights[i], cols)));
  }

  #rows(tensor: StoredTensor, rows: number, cols: number): RowSource {
    try {
      return tensorRows(tensor, rows, cols);
    } catch (cause) {
      throw new CheckpointError(`${this.#checkpoint.name}: ${(cause as Error).message}. ${this.#expected()}`, {
        cause,
      });
    }
  }

  #tensor(template: string, context: NameContext): StoredTensor {
    const name = filled(template, context);
    const tensor = this.#find(name);
    if (!tensor) throw this.#missing(name);
    this.#used.add(tensor.name);
    return tensor;
  }

  /** Also under another suffix, with one of the family's prefixes or without it, and where its moves say. */
  #find(name: string): StoredTensor | undefined {
    const { tensors } = this.#checkpoint;
    const suffix = name.slice(name.lastIndexOf('.'));
    const spellings = [name, name.slice(0, -suffix.length) + (OLD_SUFFIXES[suffix] ?? suffix)];
    for (const spelling of spellings) {
      const found = tensors.get(spelling);
      if (found) return found;
      for (const prefix of this.#family.prefixes ?? ['model.']) {
        const other = spelling.startsWith(prefix) ? spelling.slice(prefix.length) : prefix + spelling;
        const moved = tensors.get(other);
        if (moved) return moved;
      }
      for (const [from, to] of this.#family.moves ?? []) {
        const moved = spelling.startsWith(from) && tensors.get(to + spelling.slice(from.length));
        if (moved) return moved;
      }
    }
    return undefined;
  }

  #missing(name: string): CheckpointError {
    return new CheckpointError(`${this.#checkpoint.name}: the tensor ${name} is missing. ${this.#expected()}`);
  }

  #expected(): string {
    const modules = Object.values(this.#family.tensors).map((expr) => sourceName(expr));
    return `The family ${this.#config.name} has ${[...new Set(modules)].join(', ')}.`;
  }
}

/** How many blocks of rows a tensor of all experts, heads or groups has. */
function countOf({ mixer, mlp }: LayerSpec, what: 'experts' | 'heads' | 'groups'): number {
  if (what === 'experts')
    return mlp?.kind === 'moe' ? mlp.experts.count : mixer?.kind === 'head-experts' ? mixer.experts : 1;
  const counts: Partial<Record<typeof what, number>> = mixer && 'heads' in mixer ? mixer : {};
  return counts[what] ?? 1;
}

/** The whole name of an expression's first tensor. */
const nameIn = (expr: TensorExpr, context: NameContext): string =>
  filled(isBare(expr) ? sourceName(expr) : sourceName(expr) + context.suffix, context);

function isBare(expr: TensorExpr): boolean {
  if (typeof expr === 'string') return false;
  if ('bare' in expr) return true;
  const inner = innerOf(expr);
  return inner !== null && isBare(inner);
}

/** The expression within another; of several the first. */
function innerOf(expr: Exclude<TensorExpr, string>): TensorExpr | null {
  if ('transposed' in expr) return expr.transposed;
  if ('eitherWay' in expr) return expr.eitherWay;
  if ('from' in expr) return expr.from;
  return 'joined' in expr ? expr.joined[0] : null;
}

function sourceName(expr: TensorExpr): string {
  if (typeof expr === 'string') return expr;
  if ('bare' in expr) return expr.bare;
  if ('oneOf' in expr) return expr.oneOf.map(sourceName).join(' or ');
  if ('stacked' in expr) return expr.stacked[0];
  if ('extended' in expr) return expr.extended;
  if ('sinusoids' in expr) return 'computed positions';
  return sourceName(innerOf(expr)!);
}

function list(names: readonly string[]): string {
  return names.length > 6 ? `${names.slice(0, 6).join(', ')} and ${names.length - 6} more` : names.join(', ');
}
