/**
 * @file Vectors of texts (POST /v1/embeddings).
 */
import * as v from 'valibot';
import type { EmbedOptions } from '../../embed/encoder-model.ts';
import type { TextTokenizer } from '../../engine/text-model.ts';
import { readBody } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { FairQueue } from '../queue.ts';

/** What embeds: an `EncoderModel`. */
export interface Embedder {
  /** Its name, and the tokens that a text may have. */
  readonly config: { readonly name: string; readonly contextLength: number };
  readonly tokenizer: TextTokenizer;
  /** One vector for each text. */
  embed(texts: readonly string[], options?: EmbedOptions): Promise<Float32Array[]>;
}

/** A model that embeds texts, and how it is served. */
export interface ServedEncoderOptions {
  /** What clients call it: the field `model` of their requests. */
  readonly id: string;
  /** Largest number of requests that wait; the server refuses more with status 429. */
  readonly queue: number;
  /** Milliseconds that a request waits at most; it is then refused with status 503. */
  readonly queueMs: number;
}

/** A model that embeds texts, one request at a time. */
export class ServedEncoder {
  /** What clients call it. */
  readonly id: string;
  /** What embeds. */
  readonly model: Embedder;
  /** Requests that wait. */
  readonly queue: FairQueue;
  /** Seconds since 1970. */
  readonly created = Math.floor(Date.now() / 1000);

  constructor(model: Embedder, { id, queue, queueMs }: ServedEncoderOptions) {
    this.id = id;
    this.model = model;
    this.queue = new FairQueue(1, queue, queueMs);
  }

  /**
   * Answers a request to `/v1/embeddings`.
   * @throws HttpError, and the library's errors; the signal's reason.
   */
  async run({ texts, dimensions, encoding }: EmbeddingsRequest, key: string, signal: AbortSignal) {
    const release = await this.queue.enter(key, signal);
    try {
      const { tokenizer } = this.model;
      const lengths = await Promise.all(texts.map(async (text) => (await tokenizer.encode(text)).length));
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
          embedding: encoding === 'base64' ? base64Of(vector) : Array.from(vector),
        })),
        model: this.id,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      };
    } finally {
      release();
    }
  }
}

export interface EmbeddingsRequest {
  readonly model: string;
  readonly texts: readonly string[];
  readonly dimensions: number | null;
  readonly encoding: 'float' | 'base64';
}

/** OpenAI's own limit. */
const MAX_TEXTS = 2048;
const Text = v.pipe(v.string(), v.minLength(1));
const Body = v.looseObject({
  model: v.string(),
  input: v.union(
    [Text, v.pipe(v.array(Text), v.minLength(1), v.maxLength(MAX_TEXTS))],
    `wanted is a text, or a list of 1 to ${MAX_TEXTS} texts. Texts are not empty. Token ids are not supported`,
  ),
  dimensions: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  encoding_format: v.nullish(v.picklist(['float', 'base64'])),
});

/** @throws HttpError names the field. */
export function readEmbeddings(json: unknown): EmbeddingsRequest {
  const { model, input, dimensions, encoding_format: encoding } = readBody(Body, json);
  return {
    model,
    texts: typeof input === 'string' ? [input] : input,
    dimensions: dimensions ?? null,
    encoding: encoding ?? 'float',
  };
}

/** 32-bit numbers, the lowest byte first. */
function base64Of(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.length * 4);
  const view = new DataView(bytes.buffer);
  vector.forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
