/**
 * @file What the parts of the model hand each other while the graph is traced.
 *
 * Notation, in the model's files and in comments on shapes: B batch rows, T length of the chunk, C slots held, E width of the
 * residual stream, H query heads, G query groups (key/value heads), R = H / G, D head size, F width of the MLP, V vocabulary.
 */

import type { GraphBuilder, Value } from '../backends/onnx/builder.ts';
import { index, less, reshape } from '../backends/onnx/ops.ts';
import type { Config } from '../config/config.ts';
import { GraphError } from '../util/errors.ts';
import type { Param, ParamPart, WeightFormat } from '../weights/types.ts';
import type { AdapterTrace } from './adapt.ts';

/** The trace of one graph. */
export class ModelContext {
  readonly g: GraphBuilder;
  readonly config: Config;
  readonly format: WeightFormat;
  /** Live adapters; null: the graph has no place for them. */
  adapters: AdapterTrace | null = null;
  /** All parameters used so far, by name, in the order of their first use. */
  readonly params = new Map<string, Param>();

  readonly #chunkLength: Value | null;
  readonly #atMost = new Map<number, Value>();

  /** @param chunkLength T, int64 [1]; null where the graph has no chunk. */
  constructor(g: GraphBuilder, config: Config, format: WeightFormat, chunkLength: Value | null = null) {
    this.g = g;
    this.config = config;
    this.format = format;
    this.#chunkLength = chunkLength;
  }

  /** Whether the chunk has at most so many tokens, a bool without axes: some things are done otherwise then. */
  atMost(tokens: number): Value {
    if (!this.#chunkLength) throw new GraphError('this graph has no chunk');
    const known = this.#atMost.get(tokens);
    if (known) return known;
    const { g } = this;
    const length = reshape(g, this.#chunkLength, [], []);
    const value = less(g, length, index(g, Math.floor(tokens) + 1));
    this.#atMost.set(tokens, value);
    return value;
  }

  /** Declares a parameter. The first to ask for it decides how it is stored (a tied head takes the embedding as it is). */
  declare(param: Param): Param {
    const known = this.params.get(param.name);
    if (known && `${known.shape}` !== `${param.shape}`)
      throw new GraphError(`parameter ${param.name} is used as [${known.shape}] and as [${param.shape}]`);
    if (!known) this.params.set(param.name, param);
    return known ?? param;
  }

  /** A float32 parameter: a vector (norm weight, bias), or a small matrix. */
  plain(name: string, shape: readonly number[], parts?: readonly ParamPart[]): Value {
    const cols = shape.length > 1 ? shape[shape.length - 1] : 1;
    const rows = shape.reduce((a, b) => a * b, 1) / cols;
    this.declare({ name, shape, role: 'plain', format: 'float32', parts: parts ?? [{ name, rows, cols }] });
    return this.g.external(name, 'float32', shape);
  }
}
