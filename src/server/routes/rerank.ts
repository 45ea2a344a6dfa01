/**
 * @file Texts in the order of how well they answer a query (POST /v1/rerank, as Jina, Cohere, vLLM and llama-server
 * have it), and scores of pairs of texts (POST /v1/score of vLLM).
 */
import * as v from 'valibot';
import type { RankedText, RerankOptions } from '../../embed/reranker.ts';
import { readBody, refuseFields, textOrObject } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { randomId } from '../random-id.ts';
import { QueuedModel, type TaskModel } from './queued-model.ts';

/** What ranks: a `Reranker`. */
export interface TextRanker extends TaskModel {
  /** All texts with their scores, the best first. */
  rerank(query: string, texts: readonly string[], options?: RerankOptions): Promise<RankedText[]>;
}

/** A model that ranks texts, one request at a time. */
export class ServedReranker extends QueuedModel<TextRanker> {
  /**
   * Answers a request to `/v1/rerank`.
   * @throws HttpError, and the library's errors; the signal's reason.
   */
  run({ query, texts, top, returnsTexts, instruction }: RerankRequest, key: string, signal: AbortSignal) {
    return this.inTurn(key, signal, async () => {
      const ranked = await this.model.rerank(query, texts, { instruction, signal });
      return {
        id: `rerank-${randomId(24)}`,
        object: 'list',
        model: this.id,
        results: ranked.slice(0, top).map(({ index, score }) => ({
          index,
          relevance_score: score,
          ...(returnsTexts ? { document: { text: texts[index] } } : {}),
        })),
        usage: usageOf(ranked),
      };
    });
  }

  /**
   * Answers a request to `/v1/score`.
   * @throws HttpError, and the library's errors; the signal's reason.
   */
  score({ pairs, instruction }: ScoreRequest, key: string, signal: AbortSignal) {
    return this.inTurn(key, signal, async () => {
      const ranked: RankedText[] = [];
      for (const { query, texts } of pairs) {
        const all = await this.model.rerank(query, texts, { instruction, signal });
        ranked.push(...all.sort((a, b) => a.index - b.index));
      }
      return {
        id: `score-${randomId(24)}`,
        object: 'list',
        created: Math.floor(Date.now() / 1000),
        model: this.id,
        data: ranked.map(({ score }, index) => ({ index, object: 'score', score })),
        usage: usageOf(ranked),
      };
    });
  }
}

function usageOf(ranked: readonly RankedText[]) {
  const tokens = ranked.reduce((sum, each) => sum + each.tokens, 0);
  return { prompt_tokens: tokens, total_tokens: tokens };
}

export interface RerankRequest {
  readonly model: string;
  readonly query: string;
  readonly texts: readonly string[];
  readonly top: number;
  readonly returnsTexts: boolean;
  readonly instruction: string | undefined;
}

/** A query, and texts that are scored for it. */
export interface ScoreRequest {
  readonly model: string;
  readonly pairs: readonly { readonly query: string; readonly texts: readonly string[] }[];
  readonly instruction: string | undefined;
}

/** As many as vectors at once. */
const MAX_TEXTS = 2048;
const Text = textOrObject(v.string(), v.looseObject({ text: v.string('only texts are ranked') }));
const Texts = v.pipe(v.array(Text), v.minLength(1), v.maxLength(MAX_TEXTS));
const COMMON = {
  model: v.string(),
  instruction: v.nullish(v.string()),
  use_activation: v.nullish(v.literal(true, 'scores are between 0 and 1')),
};
const RerankBody = v.looseObject({
  ...COMMON,
  query: Text,
  documents: Texts,
  top_n: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  return_documents: v.nullish(v.boolean()),
});
const OneOrMore = v.union([v.string(), v.pipe(v.array(v.string()), v.minLength(1), v.maxLength(MAX_TEXTS))]);
const ScoreBody = v.looseObject({ ...COMMON, text_1: OneOrMore, text_2: OneOrMore });

const CUT = 'texts are cut only where they are longer than the model takes';
const REFUSED = {
  rank_fields: 'documents are texts; give the text itself',
  max_chunks_per_doc: CUT,
  max_tokens_per_doc: CUT,
  truncate_prompt_tokens: CUT,
};

const textOf = (given: string | { readonly text: string }): string => (typeof given === 'string' ? given : given.text);

/** @throws HttpError names the field. */
export function readRerank(json: unknown): RerankRequest {
  const body = readBody(RerankBody, json);
  refuseFields(body, REFUSED);
  return {
    model: body.model,
    query: textOf(body.query),
    texts: body.documents.map(textOf),
    top: body.top_n ?? body.documents.length,
    returnsTexts: body.return_documents ?? true,
    instruction: body.instruction ?? undefined,
  };
}

/** One text with each of several, or as many with as many. @throws HttpError names the field. */
export function readScore(json: unknown): ScoreRequest {
  const body = readBody(ScoreBody, json);
  refuseFields(body, REFUSED);
  const { text_1: first, text_2: second } = body;
  const texts = typeof second === 'string' ? [second] : second;
  const queries = typeof first === 'string' ? [first] : first;
  if (queries.length > 1 && queries.length !== texts.length)
    throw new HttpError(
      400,
      `text_2: it has ${texts.length} texts, but text_1 has ${queries.length}: give one text and several, or as many`,
      { param: 'text_2' },
    );
  return {
    model: body.model,
    pairs:
      queries.length === 1 ? [{ query: queries[0], texts }] : queries.map((query, i) => ({ query, texts: [texts[i]] })),
    instruction: body.instruction ?? undefined,
  };
}
