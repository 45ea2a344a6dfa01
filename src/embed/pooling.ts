/**
 * @file Pooling: one vector of the hidden states of a text's tokens.
 */
import { ConfigError, InputError } from '../util/errors.ts';
import { normalShare } from '../util/numbers.ts';

/**
 * `cls`: the first token; `mean`: the mean of all tokens; `max`: the largest value of each dimension; `last`: the last token;
 * `weighted-mean`: a mean in which token i (from 1 on) has the weight i.
 */
export const POOLINGS = ['cls', 'mean', 'max', 'last', 'weighted-mean'] as const;
export type Pooling = (typeof POOLINGS)[number];

/** @throws InputError for a name that there is not. */
export function checkPooling(pooling: string): Pooling {
  const found = POOLINGS.find((name) => name === pooling);
  if (!found) throw new InputError(`there is no pooling "${pooling}"; there are ${POOLINGS.join(', ')}`);
  return found;
}

/**
 * Pools the states of one text.
 * @param states [tokens, width], row-major.
 * @param from tokens before it are left out, such as those of a prompt; `cls` and `last` do not depend on it.
 */
export function pool(states: Float32Array, width: number, pooling: Pooling, from = 0): Float32Array {
  const tokens = states.length / width;
  if (!Number.isInteger(tokens) || tokens < 1)
    throw new InputError(`${states.length} numbers are not the states of tokens of width ${width}`);
  const token = (t: number) => states.slice(t * width, (t + 1) * width);
  if (pooling === 'cls') return token(0);
  if (pooling === 'last') return token(tokens - 1);
  if (from >= tokens) throw new InputError('the prompt takes the whole text: there are no tokens left to pool');
  if (pooling === 'max') {
    const most = token(from);
    for (let t = from + 1; t < tokens; t++)
      for (let i = 0; i < width; i++) most[i] = Math.max(most[i], states[t * width + i]);
    return most;
  }
  const sums = new Float64Array(width);
  let weights = 0;
  for (let t = from; t < tokens; t++) {
    const weight = pooling === 'mean' ? 1 : t + 1;
    weights += weight;
    for (let i = 0; i < width; i++) sums[i] += weight * states[t * width + i];
  }
  return Float32Array.from(sums, (sum) => sum / weights);
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
  readonly activation: 'identity' | 'tanh' | 'relu' | 'gelu';
}

const ACTIVATE: Readonly<Record<DenseLayer['activation'], (x: number) => number>> = {
  identity: (x) => x,
  tanh: Math.tanh,
  relu: (x) => Math.max(0, x),
  gelu: (x) => x * normalShare(x),
};

/** @throws ConfigError for a vector of another width. */
export function applyDense(layer: DenseLayer, vector: Float32Array): Float32Array {
  const { weight, bias, inputs, outputs, activation } = layer;
  if (vector.length !== inputs)
    throw new ConfigError(
      `a Dense module takes ${inputs} numbers, but gets ${vector.length}: they do not belong together`,
    );
  const result = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let sum = bias?.[o] ?? 0;
    for (let i = 0; i < inputs; i++) sum += weight[o * inputs + i] * vector[i];
    result[o] = ACTIVATE[activation](sum);
  }
  return result;
}
