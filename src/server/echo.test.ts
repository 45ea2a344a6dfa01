/**
 * Completions that repeat their prompt with its log probabilities, as evaluation harnesses ask for them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLASSES, chat, eventsOf, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import type { LanguageModel } from '../node.ts';
import { createApp } from './app.ts';

const PROMPT = 'And it came to pass 🐟 in the';
let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());

const app = () => createApp({ models: [servedModel(model).one] });
const ask = async (body: object, path = '/v1/completions') => {
  const response = await app().fetch(post(path, { model: 'tiny', temperature: 0, ...body }));
  return { status: response.status, ...(await response.json()) };
};
const characters = (text: string, from: number) => [...text].slice(from).join('');

describe('a prompt that is repeated', () => {
  it.each(['default', 'short'])('has the log probabilities of score, in caches of class %s', async (cache) => {
    const ids = model.tokenizer.encode(`${PROMPT} beginning God created the heaven and the earth`);
    const { options } = CLASSES.find(({ name }) => name === cache)!;
    const scored = await model.score(ids, { cache: options, topLogprobs: 1 });
    // As lm-evaluation-harness sends them: several prompts as token ids, and one token more.
    const asked = { prompt: [ids, ids.slice(0, 5)], echo: true, logprobs: 1, max_tokens: 1, cache };
    const { choices, usage } = await ask(asked);
    expect(usage).toMatchObject({ prompt_tokens: ids.length + 5, completion_tokens: 2 });
    expect(usage.prompt_tokens_details.cached_tokens).toBe(0);
    for (const [i, count] of [ids.length, 5].entries()) {
      const { tokens, token_logprobs, top_logprobs, text_offset } = choices[i].logprobs;
      for (const list of [tokens, token_logprobs, top_logprobs, text_offset]) expect(list).toHaveLength(count + 1);
      expect([token_logprobs[0], top_logprobs[0]]).toEqual([null, null]);
      for (let at = 1; at < count; at++) {
        const { logprob, top } = scored.tokens[at];
        expect(token_logprobs[at]).toBeCloseTo(logprob!, 3);
        const best = Math.max(...Object.values(top_logprobs[at] as Record<string, number>));
        expect(best).toBeCloseTo(top![0].logprob, 3);
        // The token itself is there, whatever its rank.
        expect(top_logprobs[at][tokens[at]]).toBe(token_logprobs[at]);
      }
    }
    const { text, logprobs } = choices[0];
    // Token ids are repeated as they are, with the special token before the text.
    expect(text).toMatch(/^<s> ?And it came to pass 🐟 in the beginning/);
    const without = await ask({ prompt: [ids], max_tokens: 1, cache });
    expect(text.endsWith(without.choices[0].text)).toBe(true);
    expect(characters(text, logprobs.text_offset.at(-1))).toBe(without.choices[0].text);
  });

  it('is followed by one token, also where that ends the text', async () => {
    const bias = { [model.eosTokenIds[0]]: 100 };
    const { choices } = await ask({ prompt: PROMPT, echo: true, logprobs: 1, max_tokens: 1, logit_bias: bias });
    expect(choices[0].text).toBe(PROMPT);
    expect(choices[0].logprobs.tokens).toHaveLength(model.tokenizer.encode(PROMPT).length + 1);
    expect(choices[0].logprobs.tokens.at(-1)).toBe('</s>');
  });

  it('has the place of each token, in characters', async () => {
    const { choices } = await ask({ prompt: PROMPT, echo: true, logprobs: 0, max_tokens: 4 });
    const { text, logprobs } = choices[0];
    // What the tokenizer adds before a text is no part of it.
    expect(logprobs.tokens[0]).toBe('<s>');
    expect(logprobs.text_offset.slice(0, 2)).toEqual([0, 0]);
    for (const [i, token] of (logprobs.tokens as string[]).entries())
      if (i > 0 && !token.startsWith('bytes:'))
        expect(characters(text, logprobs.text_offset[i]).startsWith(i === 1 ? token.trimStart() : token)).toBe(true);
    expect(logprobs.tokens.some((token: string) => token.startsWith('bytes:'))).toBe(true);
  });

  it('may be all of the answer, and come in several answers and streams', async () => {
    const alone = await ask({ prompt: PROMPT, echo: true, logprobs: 1, max_tokens: 0 });
    expect(alone.choices).toMatchObject([{ text: PROMPT, finish_reason: 'length' }]);
    expect(alone.usage.completion_tokens).toBe(0);
    expect(alone.choices[0].logprobs.tokens).toHaveLength(alone.usage.prompt_tokens);
    const plain = await ask({ prompt: PROMPT, echo: true, max_tokens: 2, n: 2 });
    for (const { text, logprobs } of plain.choices) {
      expect(text.startsWith(PROMPT) && text.length > PROMPT.length).toBe(true);
      expect(logprobs).toBeNull();
    }
    const two = await ask({ prompt: PROMPT, echo: true, logprobs: 1, max_tokens: 2, n: 2 });
    expect(two.usage).toMatchObject({ prompt_tokens: alone.usage.prompt_tokens, completion_tokens: 4 });
    const body = {
      model: 'tiny',
      temperature: 0,
      prompt: PROMPT,
      echo: true,
      logprobs: 1,
      max_tokens: 2,
      stream: true,
    };
    const events = (await eventsOf(await app().fetch(post('/v1/completions', body)))).slice(0, -1);
    const pieces = events.map((each) => JSON.parse(each).choices[0]);
    expect(pieces.map(({ text }) => text).join('')).toBe(two.choices[0].text);
    const offsets = pieces.flatMap(({ logprobs }) => logprobs?.text_offset ?? []);
    expect(offsets).toEqual(two.choices[0].logprobs.text_offset);
  });
});

describe('a number of tokens', () => {
  it('may be 0 in completions, and -1 for as many as the server allows', async () => {
    const { choices, usage } = await ask({ prompt: PROMPT, max_tokens: 0 });
    expect(choices).toEqual([{ text: '', index: 0, logprobs: null, finish_reason: 'length' }]);
    expect(usage).toMatchObject({ completion_tokens: 0 });
    const most = servedModel(model).one.options.maxTokens;
    for (const [path, body] of [
      ['/v1/completions', { prompt: PROMPT }],
      ['/v1/chat/completions', chat('And')],
    ] as const) {
      const { usage } = await ask({ ...body, max_tokens: -1, ignore_eos: true }, path);
      expect(usage.completion_tokens).toBe(most);
    }
  });

  it.each([
    ['/v1/completions', -2, 'max_tokens: must be at least 0, or -1'],
    ['/v1/chat/completions', 0, 'max_tokens: must be at least 1, or -1'],
  ])('is refused below: %s', async (path, most, message) => {
    const { status, error } = await ask({ ...chat('And'), prompt: 'And', max_tokens: most }, path);
    expect([status, error.message]).toEqual([400, expect.stringContaining(message)]);
  });
});
