/**
 * @file Vectors of texts (POST /v1/embeddings).
 */
import * as v from 'valibot';
import type { EmbedOptions } from '../../embed/encoder-model.ts';
import { toBase64 } from '../../util/base64.ts';
import { narrow } from '../../util/half.ts';
import { readBody, refuseFields } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { QueuedModel, type TaskModel } from './queued-model.ts';

/** What embeds: an `EncoderModel`. */
export interface Embedder extends TaskModel {
  /** One vector for each text. */
  embed(texts: readonly (string | readonly number[])[], options?: EmbedOptions): Promise<Float32Array[]>;
}

/** A model that embeds texts, one request at a time. */
export class ServedEncoder extends QueuedModel<Embedder> {
  /**
   * Answers a request to `/v1/embeddings`.
   * @throws HttpError, and the library's errors; the signal's reason.
   */
  run({ texts, dimensions, encoding }: EmbeddingsRequest, key: string, signal: AbortSignal) {
    return this.inTurn(key, signal, async () => {
      const lengths = await Promise.all(
        texts.map(async (text) => (typeof text === 'string' ? await this.model.tokenizer.encode(text) : text).length),
      );
      const tokens = lengths.reduce((sum, length) => sum + length, 0);
      const vectors = await this.model.embed(texts, { signal });
      const width = vectors[0].length;
      if (dimensions !== null && dimensions !== width)
        throw new HttpError(400, `dimensions: vectors of ${this.id} have ${width} numbers, and are not cut`, {
          param: 'dimensions',
        });
      return {
        object: 'list',
        data: vectors.map((vector, index) => ({
          object: 'embedding',
          index,
          embedding: encoding === 'base64' ? toBase64(narrow(vector, 'F32')) : Array.from(vector),
        })),
        model: this.id,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      };
    });
  }
}

export interface EmbeddingsRequest {
  readonly model: string;
  readonly texts: readonly (string | readonly number[])[];
  readonly dimensions: number | null;
  readonly encoding: 'float' | 'base64';
}

/** OpenAI's own limit. */
const MAX_TEXTS = 2048;
const Text = v.pipe(v.string(), v.minLength(1));
const Ids = v.pipe(v.array(v.pipe(v.number(), v.integer(), v.minValue(0))), v.minLength(1));
const listOf = <T extends v.GenericSchema>(item: T) => v.pipe(v.array(item), v.minLength(1), v.maxLength(MAX_TEXTS));
const Body = v.looseObject({
  model: v.string(),
  input: v.union(
    [Text, Ids, listOf(Text), listOf(Ids)],
    `wanted is a text, token ids, or a list of 1 to ${MAX_TEXTS} of them; none of them is empty`,
  ),
  dimensions: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  encoding_format: v.nullish(v.picklist(['float', 'base64'])),
});

/** @throws HttpError names the field. */
export function readEmbeddings(json: unknown): EmbeddingsRequest {
  const body = readBody(Body, json);
  refuseFields(body, { truncate_prompt_tokens: 'texts are cut only where they are longer than the model takes' });
  const { model, input, dimensions, encoding_format: encoding } = body;
  const isOne = (given: typeof input): given is string | number[] =>
    typeof given === 'string' || typeof given[0] === 'number';
  return {
    model,
    texts: isOne(input) ? [input] : input,
    dimensions: dimensions ?? null,
    encoding: encoding ?? 'float',
  };
}
