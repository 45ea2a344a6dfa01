import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../engine/language-model.ts';
import { loadModel } from '../load/load-model-node.ts';
import { InputError } from '../util/errors.ts';
import { parsePassages, ruler, scoreOf } from './ruler.ts';
import { RULER_TASKS, type RulerCase, type RulerTask, rulerCases } from './ruler-cases.ts';

/** Words count as tokens, and so does every sign. */
const countTokens = (text: string) => (text.match(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) ?? []).length;
const of = (task: RulerTask, more = {}) => rulerCases({ tasks: [task], length: 600, count: 4, countTokens, ...more });
const count = (text: string, word: string) => text.split(/[^A-Za-z0-9]+/).filter((each) => each === word).length;

describe('rulerCases', () => {
  it.each(RULER_TASKS)('%s: cases fill their length, have their answers, and follow from the seed', (task) => {
    for (const length of [300, 600, 2000]) {
      const cases = of(task, { length });
      expect(cases).toHaveLength(4);
      for (const { context, question, answers, answerTokens } of cases) {
        const tokens = countTokens(context + question) + answerTokens;
        expect(tokens).toBeLessThanOrEqual(length);
        expect(tokens).toBeGreaterThan(0.8 * length);
        expect(answers.length).toBeGreaterThan(0);
        for (const answer of answers) expect(` ${context.replaceAll(/[^A-Za-z0-9]+/g, ' ')} `).toContain(` ${answer} `);
      }
      expect(new Set(cases.map(({ context }) => context)).size).toBe(4);
      expect(of(task, { length })).toEqual(cases);
      expect(of(task, { length, seed: 2 })).not.toEqual(cases);
    }
  });

  it('asks for as many answers as the task has', () => {
    const answers = (task: RulerTask) => of(task)[0].answers.length;
    expect(RULER_TASKS.map(answers)).toEqual([1, 1, 3, 3, 5, 5, 3, 1]);
  });

  it('counts what is to be counted', () => {
    for (const { context, answers } of of('common-words', { length: 1500 })) {
      const counts = answers.map((word) => count(context, word));
      for (const n of counts) expect(n).toBe(8);
    }
    for (const { context, answers } of of('frequent-words', { length: 1500 })) {
      const all = new Map<string, number>();
      for (const word of context.split(/[^a-z]+/)) all.set(word, (all.get(word) ?? 0) + 1);
      const most = [...all].filter(([word]) => /^([a-z]{2}){3}$/.test(word)).sort((a, b) => b[1] - a[1]);
      expect(
        most
          .slice(0, 3)
          .map(([word]) => word)
          .sort(),
      ).toEqual([...answers].sort());
    }
  });

  it('chains variables in an order in which each is known before it is used', () => {
    for (const { context, question, answers } of of('variables')) {
      const values = new Map<string, string>();
      for (const [, name, , other, number] of context.matchAll(/VAR (\w+) = (VAR (\w+)|(\d+))/g))
        values.set(name, number ?? values.get(other) ?? expect.fail(`${other} is not known yet`));
      const wanted = /value (\d+)/.exec(question)![1];
      const right = [...values].filter(([, value]) => value === wanted).map(([name]) => name);
      expect(right.sort()).toEqual([...answers].sort());
      expect(values.size).toBe(10);
    }
  });

  it('takes passages of its user', () => {
    const passages = parsePassages(
      '{"passage": "The kite is blue.", "question": "Which colour has the kite?", "answers": ["blue", "azure"]}\n',
    );
    const [item] = of('questions', { passages, count: 1 });
    expect(item).toMatchObject({ answers: ['blue', 'azure'], any: true });
    expect(item.context).toContain('The kite is blue.');
    expect(() => parsePassages('{"passage": 1}')).toThrow(/line 1 is not a passage/);
  });

  it('refuses what can not be made', () => {
    expect(() => of('single', { length: 20 })).toThrow(/single needs more than 20 tokens: its shortest case takes \d+/);
    expect(() => of('sing' as RulerTask)).toThrow(InputError);
  });
});

describe('scoreOf', () => {
  const item = (answers: string[], any = false): Pick<RulerCase, 'answers' | 'any'> => ({ answers, any });
  it('is the part of the answers that are there as words', () => {
    expect(scoreOf(item(['123', '456']), ' 456, and 1234.')).toBe(0.5);
    expect(scoreOf(item(['AA1']), 'aa1\nis it')).toBe(1);
    expect(scoreOf(item(['azure', 'blue'], true), 'It is Blue!')).toBe(1);
    expect(scoreOf(item(['azure'], true), 'It is red')).toBe(0);
  });
});

describe('ruler', () => {
  let model: LanguageModel;
  beforeAll(async () => {
    model = await loadModel('keyhold/tiny', { threads: 1 });
  });
  afterAll(() => model.dispose());

  it('refuses cases longer than the context', async () => {
    const length = model.config.contextLength + 1;
    await expect(ruler(model, { length })).rejects.toThrow(
      new InputError(`cases of ${length} tokens are longer than the context of the model, which is ${length - 1}`),
    );
  });

  it('runs all tasks through a cache, and tells what it took', async () => {
    let told = 0;
    const result = await ruler(model, {
      cache: { policy: 'lastrec', cacheBytes: '50%' },
      length: 400,
      count: 1,
      onProgress: (done) => {
        told = done;
      },
    });
    expect(Object.keys(result.tasks)).toEqual([...RULER_TASKS]);
    expect(told).toBe(8);
    expect(result).toMatchObject({ cases: 8, length: 400 });
    for (const { score, cases } of Object.values(result.tasks)) {
      expect(score).toBeGreaterThanOrEqual(0);
      expect(score).toBeLessThanOrEqual(1);
      expect(cases).toBe(1);
    }
    expect(result.totalBytes).toBeLessThanOrEqual(0.5 * 416 * 6 * 2 * 2 * 32 * 2);
  });
});
