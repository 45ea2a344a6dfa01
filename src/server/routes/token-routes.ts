/**
 * @file Routes that turn text into tokens and back, and count the tokens of a prompt.
 */
import type { Context } from 'hono';
import * as v from 'valibot';
import { templateOf } from '../../engine/messages.ts';
import { readJson } from '../body.ts';
import { readCount } from '../dialects/messages.ts';
import { readBody } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { findNamed, type ModelEntry, namesOf } from '../model-entry.ts';
import type { ServedModel } from '../served-model.ts';
import type { Routes } from './routes.ts';

const TokenizeBody = v.looseObject({
  model: v.optional(v.string()),
  prompt: v.optional(v.string()),
  messages: v.optional(v.array(v.looseObject({ role: v.string(), content: v.nullish(v.string()) }))),
  add_special_tokens: v.optional(v.boolean()),
});
const DetokenizeBody = v.looseObject({
  model: v.optional(v.string()),
  tokens: v.array(v.pipe(v.number(), v.integer(), v.minValue(0))),
});

/** @param bodyBytes most bytes of a body. */
export function addTokenRoutes(app: Routes, models: readonly ModelEntry[], bodyBytes: number): void {
  /** Uses the model of a request. Without a name it is the first one. */
  const using = async <T>(c: Context, name: string | undefined, use: (served: ServedModel) => T | Promise<T>) => {
    const names = namesOf(models, c.get('key'));
    const { entry } = findNamed(names, name ?? models[0]?.id ?? '');
    const { served, release } = await entry.acquire();
    try {
      return await use(served);
    } finally {
      release();
    }
  };

  app.post('/v1/messages/count_tokens', async (c) => {
    const { model, input } = readCount(await readJson(c, bodyBytes));
    const { tokens } = await using(c, model, (served) => served.promptOf({ input }));
    return c.json({ input_tokens: tokens.length });
  });
  app.post('/tokenize', async (c) => {
    const body = readBody(TokenizeBody, await readJson(c, bodyBytes));
    const { prompt } = body;
    if (prompt === undefined && body.messages === undefined)
      throw new HttpError(400, 'prompt is missing: give the text as prompt, or messages', { param: 'prompt' });
    return using(c, body.model, async ({ model }) => {
      const text =
        body.messages === undefined
          ? (prompt ?? '')
          : templateOf(model, {}).render(body.messages.map((each) => ({ ...each, content: each.content ?? '' })));
      const addSpecialTokens = body.add_special_tokens ?? body.messages === undefined;
      const tokens = await model.tokenizer.encode(text, { addSpecialTokens });
      return c.json({ count: tokens.length, max_model_len: model.config.contextLength, tokens });
    });
  });
  app.post('/detokenize', async (c) => {
    const body = readBody(DetokenizeBody, await readJson(c, bodyBytes));
    const decoded = await using(c, body.model, ({ model }) =>
      model.tokenizer.decode(body.tokens, { skipSpecialTokens: false }),
    );
    return c.json({ prompt: decoded });
  });
}
