import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LanguageModel, loadModel } from '../node.ts';
import { type AnswerOutcome, answerEvents, emptyAnswer } from './answer-events.ts';
import type { TurnEvent } from './turn.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel('models/tiny');
});
afterAll(() => model.dispose());

const PROMPT = 'And it came to pass';
const run = (maxNewTokens: number, stop: string[] = []) =>
  model.generate(PROMPT, { temperature: 0, maxNewTokens, stop, eosTokenIds: [] });

async function answered(...given: Parameters<typeof run>): Promise<AnswerOutcome & { events: TurnEvent[] }> {
  const reading = answerEvents(run(...given), {
    parser: null,
    singleCall: false,
    endsAfterCall: false,
    tokenizer: null,
  });
  const events: TurnEvent[] = [];
  for (;;) {
    const { value, done } = await reading.next();
    if (done) return { ...value, events };
    events.push(value);
  }
}

describe('what came of an answer', () => {
  it('is its end by length or by a stop string, and its counts', async () => {
    const whole = await answered(6);
    expect(whole).toMatchObject({ finish: 'length', reasoningTokens: 0, result: { usage: { completionTokens: 6 } } });
    expect(whole.events.map((event) => 'text' in event && event.text).join('')).toBe(whole.result.text);
    const stop = whole.result.text.slice(0, 3);
    expect(await answered(6, [stop])).toMatchObject({ finish: 'stop', result: { stopString: stop, text: '' } });
  });

  it('is of no token the length that was reached, whatever came of the token behind the prompt', async () => {
    const [{ result: one }, length] = [await answered(1), model.tokenizer.encode(PROMPT).length];
    expect(one.text).not.toBe('');
    for (const stop of [[], [one.text]]) {
      const { finish, reasoningTokens, result } = await emptyAnswer(run(1, stop));
      expect({ finish, reasoningTokens }).toEqual({ finish: 'length', reasoningTokens: 0 });
      expect(result.usage).toMatchObject({ promptTokens: length, completionTokens: 0 });
      expect(result.stopString).toBeUndefined();
      expect(result.cache.held[0]).toBe(length);
    }
  });
});
