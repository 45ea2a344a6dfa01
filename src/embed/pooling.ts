/**
 * @file Pooling: one vector of the hidden states of a text's tokens.
 */
import { ConfigError, InputError } from '../util/errors.ts';
import { normalShare } from '../util/numbers.ts';

/**
 * `cls`: the first token; `mean`: the mean of all tokens; `max`: the largest value of each dimension; `last`: the last
 * token; `weighted-mean`: a mean in which token i (from 1 on) has the weight i; `mean-sqrt`: the sum, divided by the
 * square root of the number of tokens.
 */
export const POOLINGS = ['cls', 'mean', 'max', 'last', 'weighted-mean', 'mean-sqrt'] as const;
/** How the vectors of a text's tokens become one. */
export type Pooling = (typeof POOLINGS)[number];

/** @throws InputError for a name that there is not, or an empty list. */
export function checkPooling(pooling: string | readonly string[]): Pooling | readonly Pooling[] {
  const names = typeof pooling === 'string' ? [pooling] : pooling;
  if (!Array.isArray(names) || names.length === 0)
    throw new InputError(`the pooling must be one of ${POOLINGS.join(', ')}, or a list of them`);
  for (const name of names)
    if (!POOLINGS.some((known) => known === name))
      throw new InputError(`there is no pooling "${name}"; there are ${POOLINGS.join(', ')}`);
  return pooling as Pooling | readonly Pooling[];
}

/**
 * Pools the states of one text.
 * @param states [tokens, width], row-major.
 * @param pooling of several, the vectors stand one behind the other.
 * @param from tokens before it are left out, such as those of a prompt; `last` does not depend on it.
 */
export function pool(
  states: Float32Array,
  width: number,
  pooling: Pooling | readonly Pooling[],
  from = 0,
): Float32Array {
  if (typeof pooling === 'string') return poolOnce(states, width, pooling, from);
  const result = new Float32Array(pooling.length * width);
  for (const [i, name] of pooling.entries()) result.set(poolOnce(states, width, name, from), i * width);
  return result;
}

function poolOnce(states: Float32Array, width: number, pooling: Pooling, from: number): Float32Array {
  const tokens = states.length / width;
  if (!Number.isInteger(tokens) || tokens < 1)
    throw new InputError(`${states.length} numbers are not the states of tokens of width ${width}`);
  const token = (t: number) => states.slice(t * width, (t + 1) * width);
  if (pooling === 'last') return token(tokens - 1);
  if (from >= tokens) throw new InputError('the prompt takes the whole text: there are no tokens left to pool');
  if (pooling === 'cls') return token(from);
  if (pooling === 'max') {
    const most = token(from);
    for (let t = from + 1; t < tokens; t++)
      for (let i = 0; i < width; i++) most[i] = Math.max(most[i], states[t * width + i]);
    return most;
  }
  const sums = new Float64Array(width);
  let weights = 0;
  for (let t = from; t < tokens; t++) {
    const weight = pooling === 'weighted-mean' ? t + 1 : 1;
    weights += weight;
    for (let i = 0; i < width; i++) sums[i] += weight * states[t * width + i];
  }
  const divisor = pooling === 'mean-sqrt' ? Math.sqrt(weights) : weights;
  return Float32Array.from(sums, (sum) => sum / divisor);
}

/** A vector of length 1 in the same direction; zeros stay zeros. */
export function normalized(vector: Float32Array): Float32Array {
  let squares = 0;
  for (const x of vector) squares += x * x;
  const length = Math.max(Math.sqrt(squares), 1e-12);
  return vector.map((x) => x / length);
}

/** A linear layer after the pooling. */
export interface DenseLayer {
  /** [outputs, inputs], row-major. */
  readonly weight: Float32Array;
  readonly bias: Float32Array | null;
  readonly inputs: number;
  readonly outputs: number;
  readonly activation: 'identity' | 'tanh' | 'relu' | 'gelu' | 'sigmoid' | 'silu';
  /** What is added to the result: the input, or its product with this [outputs, inputs]. @default nothing */
  readonly residual?: 'input' | Float32Array;
}

const ACTIVATE: Readonly<Record<DenseLayer['activation'], (x: number) => number>> = {
  identity: (x) => x,
  tanh: Math.tanh,
  relu: (x) => Math.max(0, x),
  gelu: (x) => x * normalShare(x),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  silu: (x) => x / (1 + Math.exp(-x)),
};

/** @throws ConfigError for a vector of another width. */
export function applyDense(layer: DenseLayer, vector: Float32Array): Float32Array {
  const { weight, bias, inputs, outputs, activation, residual } = layer;
  if (vector.length !== inputs)
    throw new ConfigError(
      `a Dense module takes ${inputs} numbers, but gets ${vector.length}: they do not belong together`,
    );
  const product = (matrix: Float32Array, o: number, start: number): number => {
    let sum = start;
    for (let i = 0; i < inputs; i++) sum += matrix[o * inputs + i] * vector[i];
    return sum;
  };
  return Float32Array.from({ length: outputs }, (_, o) => {
    const value = ACTIVATE[activation](product(weight, o, bias?.[o] ?? 0));
    if (residual === undefined) return value;
    return value + (residual === 'input' ? vector[o] : product(residual, o, 0));
  });
}

/** A norm after the pooling, as PyTorch's LayerNorm. */
export interface LayerNormStep {
  readonly weight: Float32Array;
  readonly bias: Float32Array | null;
  readonly eps: number;
}

export function layerNormed({ weight, bias, eps }: LayerNormStep, x: Float32Array): Float32Array {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + eps);
  return x.map((value, i) => (value - mean) * scale * weight[i] + (bias?.[i] ?? 0));
}
