import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../load/load-model-node.ts';
import type { LanguageModel } from './language-model.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel();
});
afterAll(() => model.dispose());

/** Options as a caller without types gives them. */
const wrong = (options: object) => options as Record<string, never>;

describe('options that there are not', () => {
  it('are refused with the name that was meant', async () => {
    expect(() => model.generate('x', wrong({ temprature: 1 }))).toThrow(
      'generate has no option temprature; did you mean temperature?',
    );
    expect(() => model.generate('x', wrong({ top_k: 1 }))).toThrow('did you mean topK?');
    expect(() => model.generate('x', wrong({ max_tokens: 1 }))).toThrow('it is called maxNewTokens here');
    expect(() => model.generate('x', wrong({ cacheLength: 9 }))).toThrow('it is called cache: { cacheLength } here');
    expect(() => model.generateBatch(['x'], wrong({ batchsize: 1 }))).toThrow('did you mean batchSize?');
    await expect(model.score('text', wrong({ maxNewTokens: 1 }))).rejects.toThrow('score has no option maxNewTokens');
  });

  it.each([
    [{ stop: 5 }, 'stop of generate must be a string or an array of strings, but is 5'],
    [{ signal: {} }, 'signal of generate must be an AbortSignal, but is an object'],
    [{ temperature: '1' }, 'temperature of generate must be a number, but is "1"'],
    [{ speculate: 'yes' }, 'speculate of generate must be true, false or an object, but is "yes"'],
    [{ cache: { cacheLength: '64' } }, 'cacheLength must be a whole number of at least 1, but is "64"'],
    [
      { onTextChunk: () => {} },
      'generate has no option onTextChunk; it is called for await (const { text } of …) here',
    ],
    [{ json: true }, "generate has no option json; it is called format: { type: 'json' } here"],
  ])('are refused where %o has another type', (options, message) => {
    expect(() => model.generate('x', wrong(options))).toThrow(message);
  });

  it.each([null, 5, {}, true])('are refused with %o as a prompt', (prompt) => {
    expect(() => model.generate(prompt as unknown as string)).toThrow(
      /^a prompt must be a string, token ids, or messages, but is/,
    );
  });

  it.each(['Hello', { role: 'user', content: 'Hello' }, ['Hello'], [1, 2], null])(
    'are refused with %o as messages',
    (messages) => {
      expect(() => model.chat(messages as never)).toThrow(/^chat takes a list of messages, such as .*, but got /);
    },
  );

  it.each(['x', null, 5, []])('are refused with %o as options', (options) => {
    expect(() => model.createCache(options as never)).toThrow('the options of createCache must be an object, but are');
    expect(() => model.generate('x', options as never)).toThrow('the options of generate must be an object, but are');
  });

  it.each([
    [['a', 'b'], 'the one with index 0 is "a"; a prompt is one text, and generateBatch takes several'],
    [[1, null], 'token ids must be numbers, but the one with index 1 is null'],
    [new BigInt64Array([5n]), 'the one with index 0 is 5n; convert them with Array.from(ids, Number)'],
  ])('are refused with %o as token ids', async (ids, told) => {
    expect(() => model.generate(ids as never)).toThrow(told);
    await expect(model.prefill(model.createCache(), ids as never)).rejects.toThrow(told);
  });

  it('of prefill are refused', async () => {
    await expect(model.prefill(model.createCache(), 'text' as never)).rejects.toThrow(
      'token ids must be an array of numbers, but are "text"; model.tokenizer.encode makes them of a text',
    );
    await expect(model.prefill(model.createCache(), [1], { logits: 'some' as never })).rejects.toThrow(
      'logits of a prompt must be "none", "last" or "all", but is "some"',
    );
  });

  it.each([
    [{}, 'message 0 must be an object with a role'],
    [{ role: 7, content: 'x' }, 'message 0 must be an object with a role'],
    [{ role: 'user', content: 7 }, 'content of message 0 must be a string, but is 7'],
  ])('are refused with %o as a message', (message, told) => {
    const template = '{% for m in messages %}{{ m.content }}{% endfor %}';
    expect(() => model.generate([message] as unknown as string, { template })).toThrow(told);
  });

  it('of one request in a batch fail that request only', async () => {
    const requests = [wrong({ prompt: 'x', stops: 'y' }), { prompt: 'x' }];
    const [bad, good] = await model.generateBatch(requests, { maxNewTokens: 1 }).results();
    expect(bad).toMatchObject({
      type: 'error',
      error: { code: 'input', message: expect.stringContaining('mean stop?') },
    });
    expect(good).toMatchObject({ type: 'end' });
  });

  it('that are undefined count as not given', () => {
    expect(() => model.generate('x', wrong({ other: undefined }))).not.toThrow();
  });
});
