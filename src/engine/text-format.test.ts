import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonSchema } from '../grammar/format.ts';
import { loadModel } from '../load/load-model-node.ts';
import { FormatError, InputError } from '../util/errors.ts';
import type { LanguageModel } from './language-model.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel('models/tiny', { generationConfig: false });
});
afterAll(() => model.dispose());

const schema: JsonSchema = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 8 }, count: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['name', 'count'],
  additionalProperties: false,
};
const format = { type: 'json_schema', schema } as const;

interface Thing {
  readonly name: string;
  readonly count: number;
}

function check(value: unknown): void {
  const { name, count } = value as Thing;
  expect(Object.keys(value as object)).toEqual(['name', 'count']);
  expect([...name].length).toBeLessThanOrEqual(8);
  expect(Number.isInteger(count) && count >= 0 && count <= 99).toBe(true);
}

describe('generate with a format', () => {
  it('writes what the schema asks for, and ends there', async () => {
    for (const temperature of [0, 1, 3]) {
      const result = await model.generate('And it came', { format, temperature, seed: 3 }).result();
      expect(result.finishReason).toBe('eos');
      expect(result.parsed).toEqual(JSON.parse(result.text));
      check(result.parsed);
    }
  });

  it('writes the same in a batch and with speculation', async () => {
    const alone = await model.generate('And it came', { format, topK: 4, temperature: 0 }).result();
    const results = await model
      .generateBatch(
        [
          { prompt: 'And it came', format },
          { prompt: 'The king', format: { type: 'regex', pattern: '[ab]{5}' } },
          'And',
        ],
        { maxNewTokens: 60 },
      )
      .results();
    const texts = new Map(results.map((event) => [event.id, event.type === 'end' ? event.result : event.error]));
    expect(texts.get(0)).toMatchObject({ text: alone.text, parsed: alone.parsed });
    expect(texts.get(1)).toMatchObject({ text: expect.stringMatching(/^[ab]{5}$/), finishReason: 'eos' });
    expect(texts.get(1)).not.toHaveProperty('parsed');
    const speculative = await model.generate('And it came', { format, speculate: true }).result();
    expect(speculative.text).toBe(alone.text);
  });

  it('has no value for a text that was cut off', async () => {
    const cut = await model.generate('And', { format, maxNewTokens: 2 }).result();
    expect([cut.finishReason, cut.parsed]).toEqual(['length', undefined]);
  });

  it('ends where no token ends a text', async () => {
    const result = await model.generate('And', { format, eosTokenIds: [] }).result();
    expect(result.finishReason).toBe('eos');
    check(result.parsed);
  });

  it('refuses at once what it can not enforce', () => {
    expect(() => model.generate('And', { format: { type: 'json_schema', schema: { uniqueItems: true } } })).toThrow(
      FormatError,
    );
    expect(() => model.generate('And', { responseFormat: format } as object)).toThrow(InputError);
  });
});
