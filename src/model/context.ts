/**
 * @file What the parts of the model share while it is traced.
 */
import type { Config } from '../config/config.ts';
import type { MixerSpec } from '../config/layer-spec.ts';
import type { MoeMlp } from '../config/mlp-spec.ts';
import type { OpGraph } from '../ops/graph.ts';
import type { Value } from '../ops/types.ts';
import { GraphError } from '../util/errors.ts';
import { product } from '../util/numbers.ts';
import type { ParamPart, ParamSpec, WeightFormat } from '../weights/types.ts';
import type { AdapterTrace } from './adapter-trace.ts';
import type { FurtherMixer, MixerInputs, MixerOutputs } from './mixers/types.ts';

/** What the graphs of a model are traced from. */
export interface ModelDefinition {
  readonly config: Config;
  /** The model's weight format; the engine may store single matrices in another. */
  readonly format: WeightFormat;
  /** Parts that most families do without; null: they are not loaded, as the model has none of them. */
  readonly parts: FurtherParts | null;
}

/** The trace of one graph. */
export interface ModelContext extends ModelDefinition {
  readonly g: OpGraph;
  /** Live adapters; null: the graph has no hooks. */
  readonly adapters: AdapterTrace | null;
}

/** Parts that most families do without: what further.ts has. */
export interface FurtherParts {
  readonly mixers: {
    readonly [K in FurtherMixer]: (
      ctx: ModelContext,
      x: Value,
      layer: number,
      spec: Extract<MixerSpec, { kind: K }>,
      inputs: MixerInputs,
    ) => MixerOutputs;
  };
  /** See moe.ts. */
  readonly mixtureOfExperts: (ctx: ModelContext, x: Value, stream: () => Value, spec: MoeMlp, name: string) => Value;
  /** @param x [B, T, E], what enters the first layer. */
  readonly altUp: (ctx: ModelContext, x: Value, spec: NonNullable<Config['altUp']>) => AlternatingUpdates;
  /** See per-layer.ts. @returns [B, T, P] of each layer. */
  readonly perLayerInputs: (ctx: ModelContext, ids: Value, x: Value) => readonly Value[];
  /** See per-layer.ts. @param input [B, T, P] of this layer. */
  readonly endLayer: (ctx: ModelContext, stream: Stream, layer: number, input: Value | undefined) => void;
  /** See laurel.ts. @param x [B, T, E], what the mixer read. */
  readonly addLaurel: (ctx: ModelContext, stream: Stream, x: Value, layer: number, rank: number) => void;
}

/** What these parts need of the residual stream (norm.ts). */
export interface Stream {
  value(): Value;
  add(value: Value): void;
  replace(value: Value): void;
}

/** The streams of a model with alternating updates, from layer to layer: see alt-up.ts. */
export interface AlternatingUpdates {
  /** @returns [B, T, E], the stream that the layer is to compute. */
  enter(layer: number): Value;
  /** @param y [B, T, E], what the layer made of it. @param input of the layer and its token [B, T, P]. */
  leave(layer: number, y: Value, input: Value): void;
  /** @returns [B, T, E] */
  merged(): Value;
}

/** A float32 parameter: a vector (norm weight, bias), or a small matrix. */
export function plainParam(
  { g }: ModelContext,
  name: string,
  shape: readonly number[],
  parts?: readonly ParamPart[],
): Value {
  const cols = shape.length > 1 ? shape[shape.length - 1] : 1;
  const rows = product(shape) / cols;
  return g.param({ name, shape, role: 'plain', format: 'float32', parts: parts ?? [{ name, rows, cols }] });
}

/**
 * A matrix in the model's weight format, or in the one that the engine prefers to it.
 * @param parts its rows, in order.
 * @param options its own format, and how it is used: see {@link ParamSpec.separable} and {@link ParamSpec.productsOnly}.
 */
export function matrixParam(
  ctx: ModelContext,
  name: string,
  role: Exclude<ParamSpec['role'], 'plain'>,
  parts: readonly ParamPart[],
  options: Partial<Pick<ParamSpec, 'format' | 'separable' | 'productsOnly'>> = {},
): Value {
  const { g } = ctx;
  const { format = ctx.format, ...uses } = options;
  const [{ cols }] = parts;
  if (parts.some((part) => part.cols !== cols)) throw new GraphError(`the parts of ${name} differ in width`);
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const stored = g.target.weightFormat({ name, role, rows, cols }, format);
  return g.param({ name, shape: [rows, cols], role, format: stored, parts, ...uses });
}
