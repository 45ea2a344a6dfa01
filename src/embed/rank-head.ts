/**
 * @file What makes one number of a pair's hidden states: the head of an encoder that was trained to rank, or two tokens
 * of a decoder.
 */
import type { StoredTensor } from '../checkpoint/types.ts';
import { ConfigError } from '../util/errors.ts';
import { product } from '../util/numbers.ts';
import { applyDense, type DenseLayer, layerNormed, type Pooling, pool } from './pooling.ts';

/** How sure the head is that text and query belong together: a logit. @param states [tokens, width] */
export type RankHead = (states: Float32Array, width: number) => number;

/** Where an encoder's head is. */
export interface RankHeadTensors {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** That names in the file may have. */
  readonly prefixes: readonly string[];
  readonly dense: string;
  readonly activation: DenseLayer['activation'];
  readonly norm?: string;
  readonly out: string;
  readonly pooling: Pooling;
  readonly width: number;
  readonly eps: number;
}

/**
 * Reads a head for classification with one label.
 * @throws ConfigError where the checkpoint has none, or one of several labels.
 */
export async function readRankHead(from: RankHeadTensors): Promise<RankHead> {
  const { name, tensors, prefixes, width } = from;
  const find = (tensor: string) => ['', ...prefixes].map((prefix) => tensors.get(prefix + tensor)).find(Boolean);
  const read = async (tensor: string, size: number): Promise<Float32Array | null> => {
    const found = find(tensor);
    if (!found) return null;
    if (product(found.shape) !== size)
      throw new ConfigError(
        `${name}: ${tensor} is [${found.shape}], but ${size} values are needed: a reranker's head has one label`,
      );
    return found.readFloats(0, size);
  };
  const layer = async (module: string, outputs: number, activation: DenseLayer['activation']): Promise<DenseLayer> => {
    const weight = await read(`${module}.weight`, outputs * width);
    if (!weight)
      throw new ConfigError(`${name} has no ${module}.weight: it was not trained to rank texts; use loadEncoder`);
    return { weight, bias: await read(`${module}.bias`, outputs), inputs: width, outputs, activation };
  };
  const dense = await layer(from.dense, width, from.activation);
  const out = await layer(from.out, 1, 'identity');
  const norm = from.norm ? await read(`${from.norm}.weight`, width) : null;
  const shift = from.norm ? await read(`${from.norm}.bias`, width) : null;
  return (states) => {
    let x = applyDense(dense, pool(states, width, from.pooling));
    if (norm) x = layerNormed({ weight: norm, bias: shift, eps: from.eps }, x);
    return applyDense(out, x)[0];
  };
}

/**
 * The head of a decoder that answers "yes" or "no": the difference of their logits after the last token.
 * @param yes its row of the head. @param cap logits become cap · tanh(logits / cap); null: they stay.
 */
export function answerHead(yes: Float32Array, no: Float32Array, scale: number, cap: number | null): RankHead {
  return (states, width) => {
    const last = pool(states, width, 'last');
    const logit = (row: Float32Array) => {
      const value = scale * row.reduce((sum, weight, i) => sum + weight * last[i], 0);
      return cap === null ? value : cap * Math.tanh(value / cap);
    };
    return logit(yes) - logit(no);
  };
}
