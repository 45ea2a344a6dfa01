import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { issueText } from './issue.ts';

const Body = v.object({
  n: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(16))),
  above: v.nullish(v.pipe(v.number(), v.gtValue(0))),
  messages: v.nullish(v.pipe(v.array(v.object({ role: v.picklist(['user', 'assistant']) })), v.minLength(1))),
  name: v.nullish(v.pipe(v.string(), v.maxLength(3))),
  stop: v.nullish(v.union([v.string(), v.array(v.string())])),
  id: v.nullish(v.pipe(v.string(), v.regex(/^\d+$/, 'must be a whole number'))),
  sound: v.nullish(v.literal('text', 'only text')),
  model: v.string(),
});

describe('issueText', () => {
  it.each([
    [{}, 'model is missing'],
    [{ model: 5 }, 'model must be a string, but is 5'],
    [{ n: 17 }, 'n must be at most 16, but is 17'],
    [{ n: 0 }, 'n must be at least 1, but is 0'],
    [{ n: 1.5 }, 'n must be a whole number, but is 1.5'],
    [{ n: '1' }, 'n must be a number, but is "1"'],
    [{ above: 0 }, 'above must be above 0, but is 0'],
    [{ messages: [] }, 'messages must have at least 1 item, but has 0'],
    [{ messages: {} }, 'messages must be an array, but is an object'],
    [{ messages: [{ role: 'robot' }] }, 'messages.0.role must be "user" or "assistant", but is "robot"'],
    [{ name: 'long' }, 'name must have at most 3 characters, but has 4'],
    [{ sound: 'audio' }, 'sound: only text'],
    [{ stop: 5 }, 'stop must be a string or an array, but is 5'],
    [{ id: 'x' }, 'id must be a whole number, but is "x"'],
  ])('%o', (body, told) => {
    const { issues } = v.safeParse(
      Body,
      'model' in body || Object.keys(body).length === 0 ? body : { model: 'm', ...body },
    );
    expect(issueText(v.getDotPath(issues![0]) ?? 'the body', issues![0])).toBe(told);
  });
});
