/**
 * @file Routes that turn text into tokens and back, count the tokens of a prompt, and show it, with the fields of vLLM
 * and of llama-server.
 */
import type { Context } from 'hono';
import * as v from 'valibot';
import { readJson } from '../body.ts';
import { readChatPrompt } from '../dialects/chat-completions.ts';
import { readCount } from '../dialects/messages.ts';
import { readBody } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { type TokenTexts, textsBy } from '../likely-token.ts';
import { findNamed, type ModelEntry, namesOf } from '../model-entry.ts';
import type { ServedModel } from '../served-model.ts';
import { renderedPrompt } from '../turn-prompt.ts';
import type { Routes } from './routes.ts';

const TokenizeBody = v.looseObject({
  model: v.optional(v.string()),
  prompt: v.nullish(v.string()),
  content: v.nullish(v.string()),
  messages: v.nullish(v.array(v.unknown())),
  add_special_tokens: v.nullish(v.boolean()),
  add_special: v.nullish(v.boolean()),
  parse_special: v.nullish(v.literal(true, 'special tokens in a text are always read as tokens')),
  return_token_strs: v.nullish(v.boolean()),
  with_pieces: v.nullish(v.boolean()),
});
type TokenizeBody = v.InferOutput<typeof TokenizeBody>;
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
    const json = await readJson(c, bodyBytes);
    const body = readBody(TokenizeBody, json);
    return using(c, body.model, async ({ model, contextLength }) => {
      const { text, addsSpecial } = textOf(body, json, model);
      const addSpecialTokens = body.add_special_tokens ?? body.add_special ?? addsSpecial;
      const ids = await model.tokenizer.encode(text, { addSpecialTokens });
      const texts =
        body.with_pieces || body.return_token_strs ? await Promise.all(ids.map(textsBy(model.tokenizer))) : [];
      return c.json({
        count: ids.length,
        max_model_len: contextLength,
        tokens: body.with_pieces ? ids.map((id, i) => ({ id, piece: pieceOf(texts[i]) })) : ids,
        ...(body.return_token_strs ? { token_strs: texts.map((each) => each.text) } : {}),
      });
    });
  });
  app.post('/detokenize', async (c) => {
    const body = readBody(DetokenizeBody, await readJson(c, bodyBytes));
    const decoded = await using(c, body.model, ({ model }) =>
      model.tokenizer.decode(body.tokens, { skipSpecialTokens: false }),
    );
    // The names of vLLM and of llama-server.
    return c.json({ prompt: decoded, content: decoded });
  });
  app.post('/apply-template', async (c) => {
    const { model: name, ...prompt } = readChatPrompt(await readJson(c, bodyBytes));
    return c.json({ prompt: await using(c, name, ({ model }) => renderedPrompt(model, prompt)) });
  });
  app.get('/props', (c) =>
    using(c, c.req.query('model'), ({ id, model, options, contextLength }) =>
      c.json({
        default_generation_settings: { n_ctx: contextLength },
        total_slots: options.rows,
        model_alias: id,
        chat_template: model.chatTemplate?.sources?.['default'] ?? null,
        modalities: { vision: false, audio: false },
      }),
    ),
  );
}

/** The text of a request, and whether special tokens are added to it where the request does not say. */
function textOf(body: TokenizeBody, json: unknown, model: ServedModel['model']) {
  const { prompt, content, messages } = body;
  if (messages) return { text: renderedPrompt(model, readChatPrompt(json)), addsSpecial: false };
  if (typeof prompt === 'string') return { text: prompt, addsSpecial: true };
  if (typeof content === 'string') return { text: content, addsSpecial: false };
  throw new HttpError(400, 'prompt is missing: give the text as prompt (or content), or messages', { param: 'prompt' });
}

/** The text of a token, or its bytes where it is a part of a character. */
const pieceOf = ({ text, bytes, isText }: TokenTexts): string | number[] => (isText ? text : Array.from(bytes));
