/**
 * @file Loads a model that embeds or ranks texts, in Node.
 */
import type { Checkpoint } from '../checkpoint/types.ts';
import type { EncoderModel } from '../embed/encoder-model.ts';
import type { Reranker } from '../embed/reranker.ts';
import { modelOrSmall } from '../util/arguments.ts';
import { TINY_MODEL } from '../util/files/shipped-node.ts';
import { checkOptionNames } from '../util/option-names.ts';
import { assembleEncoder } from './load-encoder.ts';
import { assembleFrom, LOAD_OPTIONS, type LoadOptions, RENAMED } from './load-model-node.ts';
import { assembleReranker } from './load-reranker.ts';

/** Options of {@link loadEncoder} and {@link loadReranker}. Adapters are merged into the weights. */
export type EncoderLoadOptions = Omit<LoadOptions, 'generationConfig'>;

const { generationConfig: _, ...ENCODER_OPTIONS } = LOAD_OPTIONS;

/** Loads `keyhold/tiny`, the small model that ships with the package. */
export function loadEncoder(): Promise<EncoderModel>;
/**
 * Loads a model for embeddings: an encoder, or a decoder that is made of attention alone. The files of
 * sentence-transformers beside its weights say how the states of its tokens become one vector.
 * @param model as for `loadModel`.
 * @throws as `loadModel` does; InputError for a model that can't embed.
 * @example
 * ```ts
 * import { loadEncoder } from 'keyhold';
 *
 * const model = await loadEncoder(); // such as BAAI/bge-small-en-v1.5; without a name, the small model
 * const [a, b] = await model.embed(['the fish of the sea', 'the fowl of the air']); // Float32Array [width] each
 * console.log(model.similarity(a, b));
 * await model.dispose();
 * ```
 */
export function loadEncoder(model: string | Checkpoint, options?: EncoderLoadOptions): Promise<EncoderModel>;
export async function loadEncoder(
  ...given: [model?: string | Checkpoint, options?: EncoderLoadOptions]
): Promise<EncoderModel> {
  const model = modelOrSmall('loadEncoder', given, TINY_MODEL);
  const [, options = {}] = given;
  checkOptionNames('loadEncoder', options, ENCODER_OPTIONS, RENAMED);
  return assembleFrom(model, options, assembleEncoder);
}

/**
 * Loads a model that says how well texts answer a query: an encoder with a head of one label (BERT, XLM-RoBERTa,
 * DistilBERT, ModernBERT), or a decoder that answers "yes" or "no" (Qwen3-Reranker).
 * @param model as for `loadModel`.
 * @throws as `loadModel` does; ConfigError for a model that can't rank.
 */
export async function loadReranker(model: string | Checkpoint, options: EncoderLoadOptions = {}): Promise<Reranker> {
  checkOptionNames('loadReranker', options, ENCODER_OPTIONS, RENAMED);
  return assembleFrom(model, options, assembleReranker);
}
